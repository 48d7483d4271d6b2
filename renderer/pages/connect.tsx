/** How a computer gets at a shared disk: exact commands with this server's real address. */
import { IconAlertTriangle } from '@tabler/icons-react'
import { formatSize } from '../../agent/contract/sizes.ts'
import type { VolumeStatus } from '../../agent/contract/status.ts'
import { type NbdAddress, nbdAddress } from '../nbd-address.ts'
import { CopyLine } from '../parts/copy-line.tsx'
import { Panel } from '../parts/panel.tsx'
import css from './pages.module.css'

interface Step {
  says: string
  what: string
  command: string
}

/** As a shell takes it for one word: what no shell reads as a sign stays bare, the rest is quoted. */
const shellWord = (text: string): string => (/^[\w./:=,+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`)

/** The kernel's NBD client. */
function linuxSteps(address: NbdAddress): Step[] {
  const where = address.kind === 'tcp' ? `${address.host} ${address.port}` : `-unix ${shellWord(address.path)}`
  return [
    {
      says: 'Once on each computer: the client.',
      what: 'the installation command',
      command: 'sudo apt install nbd-client && sudo modprobe nbd',
    },
    {
      says: 'Attach the disk. It appears as /dev/nbd0.',
      what: 'the attach command',
      command: `sudo nbd-client ${where} /dev/nbd0 -name ${address.name} -persist`,
    },
    {
      says: 'Only the first time: make a file system. This erases what is on the shared disk.',
      what: 'the format command',
      command: `sudo mkfs.ext4 /dev/nbd0`,
    },
    {
      says: 'Use it.',
      what: 'the mount command',
      command: `sudo mkdir -p /mnt/${address.name} && sudo mount /dev/nbd0 /mnt/${address.name}`,
    },
    {
      says: 'Before this computer is switched off, or another one is to use the disk:',
      what: 'the detach command',
      command: `sudo umount /mnt/${address.name} && sudo nbd-client -d /dev/nbd0`,
    },
  ]
}

function qemuSteps(address: NbdAddress): Step[] {
  return [
    {
      says: 'As the disk of a virtual machine:',
      what: 'the virtual machine option',
      command: `-drive ${shellWord(`file=${address.uri},format=raw,if=virtio,cache=none`)}`,
    },
    {
      says: 'To see whether it answers:',
      what: 'the test command',
      command: `qemu-img info ${shellWord(address.uri)}`,
    },
  ]
}

function Steps(props: { steps: readonly Step[]; ordered: boolean }) {
  const items = props.steps.map((step, index) => (
    <li key={step.what}>
      <p>
        {props.ordered ? `${index + 1}. ` : ''}
        {step.says}
      </p>
      <CopyLine text={step.command} what={step.what} />
    </li>
  ))
  return props.ordered ? <ol className={css.steps}>{items}</ol> : <ul className={css.steps}>{items}</ul>
}

const isLoopback = (address: NbdAddress): boolean =>
  address.kind === 'unix' || /^(127\.|localhost$|\[::1\]$|::1$)/.test(address.host)

function Ways(props: { volume: VolumeStatus; serverName: string }) {
  const { volume, serverName } = props
  const tcp = nbdAddress(volume.nbd.tcp, volume.name)
  const unix = nbdAddress(volume.nbd.unix, volume.name)
  const best = tcp ?? unix
  if (best === null) {
    return (
      <Panel label={`Connect to ${volume.name}`}>
        <p>
          {serverName} offers no address for {volume.name}. Set nbd.port or nbd.unix in its config.json and restart
          Mirrorbay there, or connect at another server.
        </p>
      </Panel>
    )
  }
  return (
    <>
      {isLoopback(best) && (
        <Panel label="Where it can be reached">
          <p>
            This address can be reached on <strong>{serverName}</strong> itself only. To let other computers in, set
            nbd.host in its config.json to an address of your network. Connections are not encrypted in this version:
            use a network that you trust.
          </p>
        </Panel>
      )}
      <Panel title="Linux">
        <Steps steps={linuxSteps(best)} ordered />
      </Panel>
      <Panel title="QEMU and KVM virtual machines">
        <Steps steps={qemuSteps(unix ?? best)} ordered={false} />
      </Panel>
    </>
  )
}

export function Connect(props: { volumes: readonly VolumeStatus[]; name: string | null; serverName: string }) {
  const volume = props.volumes.find((candidate) => candidate.name === props.name) ?? props.volumes[0]
  if (volume === undefined) {
    return (
      <div className={css.narrow}>
        <h1 className={css.title}>Connect a computer</h1>
        <p className={css.lead}>There is no shared disk yet. Create one on the overview first.</p>
      </div>
    )
  }
  return (
    <div className={css.narrow}>
      <div>
        <h1 className={css.title}>Connect a computer to {volume.name}</h1>
        <p className={css.lead}>
          Shared disk, {formatSize(volume.sizeBytes)}, offered by {props.serverName} as a network block device (NBD).
          Every other server offers the same disk at its own address.
        </p>
      </div>
      <div className={css.caution}>
        <IconAlertTriangle size={20} aria-hidden />
        <p>
          Use it from one computer at a time, unless its file system is made for several (OCFS2, GFS2): two computers
          that mount an ordinary file system at once destroy it.
        </p>
      </div>
      <Ways volume={volume} serverName={props.serverName} />
    </div>
  )
}

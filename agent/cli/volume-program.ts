/** The commands for the life of a shared disk, and for its snapshots: options and help. What they do is in volume-life.ts
 * and snapshots.ts. */
import type { Command } from 'commander'
import { type Asks, examples } from './commands.ts'
import * as snapshots from './snapshots.ts'
import * as life from './volume-life.ts'

/** @param volume the command `mirrorbay volume` */
export function addVolumeLife(volume: Command, asks: Asks): void {
  volume
    .command('grow')
    .description('Make a shared disk larger while it is used; clients see it when they connect again')
    .argument('<name>', 'for example office')
    .argument('<size>', 'the size that it is to have, for example 300G')
    .addHelpText('after', examples(['mirrorbay volume grow office 300G']))
    .action(asks((asking, _options, [name = '', size = '']) => life.growVolume(asking, name, size)))
  volume
    .command('delete')
    .description('Offer a shared disk to nobody any more; it is kept for 7 days, then gone')
    .argument('<name>')
    .option('--yes', 'do not ask')
    .addHelpText('after', examples(['mirrorbay volume delete office']))
    .addHelpText('after', '\nExit codes: 0 deleted, 1 refused or you said no, 2 could not.')
    .action(
      asks<{ yes?: boolean }>((asking, { yes }, [name = '']) => life.deleteVolume(asking, name, { yes: yes === true })),
    )
  volume
    .command('deleted')
    .description('The shared disks that were deleted and are still kept')
    .action(asks((asking) => life.listDeleted(asking)))
  volume
    .command('restore')
    .description('Bring a recently deleted shared disk back')
    .argument('<which>', 'its name, or its id as "mirrorbay volume deleted" shows it')
    .option('--as <name>', 'under another name')
    .addHelpText(
      'after',
      examples(['mirrorbay volume restore office', 'mirrorbay volume restore office --as office-old']),
    )
    .action(asks<{ as?: string }>((asking, { as }, [which = '']) => life.restoreVolume(asking, which, as)))
  addPurge(volume, asks)
}

function addPurge(volume: Command, asks: Asks): void {
  volume
    .command('purge')
    .description('Remove a recently deleted shared disk for good, on every server')
    .argument('<which>', 'its name or its id')
    .option('--wipe', 'overwrite every byte first (slow)')
    .option('--yes', 'do not ask')
    .addHelpText('after', examples(['mirrorbay volume purge office --wipe']))
    .addHelpText('after', '\nExit codes: 0 removed, or being overwritten; 1 refused or you said no, 2 could not.')
    .action(
      asks<{ wipe?: boolean; yes?: boolean }>((asking, { wipe, yes }, [which = '']) =>
        life.purgeVolume(asking, which, { wipe: wipe === true, yes: yes === true }),
      ),
    )
}

export function addSnapshot(program: Command, asks: Asks): void {
  const command = program
    .command('snapshot')
    .description('Read-only images of a shared disk at one moment. They lie on the same disks: no backup')
  command
    .command('create')
    .description('Keep what a shared disk holds now')
    .argument('<volume>', 'for example office')
    .argument('<name>', 'for example before-update')
    .addHelpText('after', examples(['mirrorbay snapshot create office before-update']))
    .action(asks((asking, _options, [volume = '', name = '']) => snapshots.createSnapshot(asking, volume, name)))
  command
    .command('list')
    .description('The snapshots, what space they hold here, and where to open them')
    .argument('[volume]', 'only those of this shared disk')
    .action(asks((asking, _options, [volume]) => snapshots.listSnapshots(asking, volume)))
  command
    .command('delete')
    .description('Delete a snapshot at every server; the shared disk itself is not touched')
    .argument('<volume>')
    .argument('<name>')
    .addHelpText('after', examples(['mirrorbay snapshot delete office before-update']))
    .action(asks((asking, _options, [volume = '', name = '']) => snapshots.deleteSnapshot(asking, volume, name)))
}

import type { ReplicaState, ReplicaStatus } from '../../agent/contract/status.ts'
import { Chip, replicaLook } from './mark.tsx'
import css from './replica-list.module.css'

/** One word for one copy; why and since when is said by the volume's own words above the list. */
const stateWords: Readonly<Record<ReplicaState, string>> = {
  'in-sync': 'Complete',
  joining: 'Being brought up to date',
  out: 'Out of date',
  unknown: 'Not known',
}

/** Of a server that is not heard only the past is known: its copy is not shown as good. */
function State({ replica }: { replica: ReplicaStatus }) {
  if (!replica.connected && replica.state === 'in-sync') {
    return <Chip look={replicaLook.unknown}>Complete when last heard</Chip>
  }
  return <Chip look={replicaLook[replica.state]}>{stateWords[replica.state]}</Chip>
}

export function ReplicaList(props: { replicas: readonly ReplicaStatus[]; thisServerId: string }) {
  // The same order in every window, whatever order the agent keeps: this server, then the others by name.
  const rank = (replica: ReplicaStatus) => (replica.serverId === props.thisServerId ? '' : replica.serverName)
  const sorted = props.replicas.toSorted((one, other) => (rank(one) < rank(other) ? -1 : 1))
  return (
    <ul className={css.list} aria-label="Copies">
      {sorted.map((replica) => (
        <li key={replica.serverId} className={css.row}>
          <span className={css.name}>
            {replica.serverName}
            {replica.serverId === props.thisServerId && <span className={css.note}> · this server</span>}
            {!replica.connected && <span className={css.note}> · not connected</span>}
          </span>
          <State replica={replica} />
        </li>
      ))}
    </ul>
  )
}

/**
 * Every limit, with unit and reason. Their relations are checked at start (checkLimits), so that a careless change of
 * one number stops the agent with a sentence instead of breaking a rule quietly.
 */
import { invariant } from './kit/failure.ts'

const KiB = 1024
const MiB = 1024 * KiB

export const limits = {
  /** Bytes. The unit in which replicas are compared and copied (ENGINE words). */
  blockBytes: 4 * KiB,
  /** Bytes. The unit of allocation (ENGINE words). */
  extentBytes: 256 * KiB,
  /** Bytes. The unit of a mark and a stamp (ENGINE words). */
  regionBytes: 16 * MiB,
  /** Bytes. The largest NBD payload: the protocol document asks servers to take 32 MiB. */
  requestBytes: 32 * MiB,
  /** Bytes. Smallest and largest volume: one extent-aligned MiB; 64 TiB keeps every offset in 48 bits with room. */
  volumeMinBytes: 1 * MiB,
  volumeMaxBytes: 64 * 1024 * 1024 * MiB,
  /** Bytes. Where the hidden range of every volume begins (decision 0012): behind the largest volume, so that it stays where it is
   * when one grows, and below 2^48, as offsets travel; and its length: 256 pages. */
  hiddenStartBytes: 128 * 1024 * 1024 * MiB,
  hiddenBytes: 1 * MiB,
  /** Bytes of a page of the hidden range: a block, so that it is never torn (W5). */
  pageBytes: 4 * KiB,
  /** W10: the page that every write of a client holds `shared`. */
  reservationsPage: 0,
  /** Bytes. The largest compare-and-write: SCSI counts its blocks of 512 bytes in one byte. */
  compareBytes: 255 * 512,
  /** Volumes of one cluster. */
  volumes: 64,
  /** Servers with a replica of one volume: each of them tells the names of all others' writes (controlBytes). */
  replicas: 5,

  /** Connections per frontend listener, so that a port scanner cannot exhaust the process. */
  clientConnections: 256,
  /** Requests one client connection may have under way; then its socket is not read. */
  clientRequests: 256,
  /** Bytes of payload one client connection may have under way; at least one largest request. */
  clientBytes: 64 * MiB,
  /** Requests a volume executes at once; the others wait in order. */
  volumeRequests: 1024,
  /** Payload bytes a volume executes at once; of its writes less where many volumes share the links (shareOfLinks). */
  volumeBytes: 64 * MiB,
  /** Bytes. Larger writes are executed in parts, so that the smallest share of the links holds one (W5: blocks stay whole). */
  writePartBytes: 4 * MiB,
  /** Bytes read from a client that has reached a limit, and kept unhandled. Reading on is how its end is noticed (W9); with
   * clientBytes it is more than a Linux kernel has under way (128 requests of 1280 KiB). */
  clientReadAheadBytes: 128 * MiB,
  /** Bytes of replies a client has not read yet; beyond this its requests are not read either. */
  clientUnsentBytes: 8 * MiB,
  /** Bytes of payload of a write that is refused (too large, past the end): skipped up to here, else the connection ends. */
  refusedPayloadBytes: 64 * MiB,
  /** Pieces in which one payload is kept as it came; what follows is copied into one, so that dribbled bytes cost bytes. */
  payloadPieces: 1024,
  /** Bytes of data of one NBD option: the longest name and more information requests than there are kinds of. */
  optionBytes: 64 * KiB,
  /** 64 KiB blocks for replies kept for use again, over all NBD connections. */
  replyBlocks: 64,
  /** Milliseconds that requests under way get to finish when a frontend stops. */
  frontendStopMs: 5_000,
  /** Milliseconds a client gets to close its end after the frontend closed its own. */
  clientLingerMs: 2_000,
  /** Milliseconds between two log lines of one kind about clients. */
  clientLogMs: 1_000,
  /** Milliseconds of silence after which a client's TCP connection is probed, so that a vanished client is noticed. */
  clientProbeMs: 30_000,
  /** W9: a request that waited longer than this starts only when its connection is seen open once more, milliseconds. */
  staleRequestMs: 250,
  /** Milliseconds an unfinished NBD negotiation may take. */
  negotiationMs: 10_000,

  /** Requests that one volume may have passed to its host at once (P7), and that a host takes of one server: as many as a volume
   * executes; their bytes are those of a volume (volumeBytes, shareOfLinks). */
  passedRequests: 1024,
  /** W8: sessions whose writes a leader can tell the outcome of, of each other server. */
  outcomeSessions: 16,
  /** Milliseconds for which a host may be out of reach, while another one serves, until writes that it may have started are given
   * up (W8): longer than a cable takes to be plugged in again, no longer than E8 leaves a member that does not answer. */
  passedAwayMs: 10_000,

  /** Bytes of a slab that a socket is read into: a few requests of 128 KiB, and many small ones, in one read. */
  slabBytes: 256 * KiB,
  /** Bytes of room below which a socket goes on to another slab. */
  slabRoomBytes: 64 * KiB,
  /** Slabs kept for use again by the sockets of one frontend, or of the links: what a volume executes at once. */
  slabsKept: 256,

  /** Entries of UV_THREADPOOL_SIZE, shared by the whole process. */
  threadPool: 16,
  /** Entries more for every storage folder beside the main one: its data file calls, and those for records, syncs and space. */
  folderThreads: 12,
  /** Data file calls one disk may have in flight; below the pool so that a hung disk leaves threads for the others. */
  diskCalls: 8,

  /** Bytes up to which an aligned write goes to the disk's own thread for small ones: the bytes are copied. */
  smallWriteBytes: 32 * KiB,
  /** Small writes that thread may have; a power of two, so that counters may wrap. */
  diskSmallWrites: 128,

  /** Bytes and chunks that one data file call may carry: neighbouring writes are joined up to this. */
  diskJoinBytes: 1 * MiB,
  diskJoinChunks: 256,
  /** Slots of 256 KiB kept ready to be handed out; at least one largest request, unaligned. */
  slotPool: 1024,
  /** Freed slots zeroed in one go, in the background. */
  slotsZeroed: 64,
  /** Read-only images of a volume: more than a day of hourly ones is another tool's work, and each is compared at every
   * change of a mapping. */
  images: 8,
  /** Extents of one replica copied at once because an image holds their slot: 256 KiB of memory each. */
  copiesAtOnce: 16,
  /** Block checksums brought to the disk at once before an image is made: one slot's each. */
  sumsAtOnce: 8,
  /** Regions of a deleted image whose slots are given back in one commit: a deletion never holds up other commits for long. */
  imageRegionsFreed: 64,
  /** Pages of 64 block checksums (512 bytes) in memory per storage folder: 16 MiB, those of 8 GiB of data. */
  sumPages: 32_768,
  /** Bytes, and slots of 256 KiB, written and not yet synced, in one storage folder: more waits, whatever the disk can (item 4 of the
   * store: a flush takes at most a third of diskOverdueMs; how much that is on a slow disk is measured). */
  dirtyBytes: 1024 * MiB,
  dirtySlots: 65_536,
  /** Milliseconds after which what was written is synced though nobody asked. */
  dirtyMs: 5_000,
  /** Bytes kept free on a disk: marks, index and records must never meet a full disk. */
  diskReserveBytes: 32 * MiB,
  /** Bytes of one durable record's JSON text. */
  recordBytes: 64 * KiB,
  /** Milliseconds of them for block checksums: what is not written then is computed anew by the next run. */
  sumsCloseMs: 4_000,
  /** Milliseconds a store may take to close before a frozen disk is given up on. */
  storeCloseMs: 10_000,
  /** Milliseconds between two attempts to write to a failed disk that it failed (C2). */
  failureRecordMs: 1_000,
  /** Milliseconds after which a replica that could not grow to its volume's size tries again. */
  growAgainMs: 5_000,
  /** Milliseconds in which every server must have done its part of a person's change, and the arbiter decided it. */
  changeAnswerMs: 15_000,
  /** Milliseconds a deleted volume is kept: a week to notice. */
  deletedKeepMs: 7 * 24 * 3_600_000,
  /** Milliseconds between two times that it becomes durable how long it was kept: what a restart adds at most. */
  keptSaveMs: 600_000,
  /** C8: slots that another server's writes may take of a disk without asking: 128 MiB, twice what a volume executes at
   * once; and the part of what is left that one of them is given at most. */
  creditSlots: 512,
  creditShare: 16,
  /** Milliseconds between two looks at a disk's free space. */
  freeSpaceMs: 5_000,
  /** Storage folders of one server beside its main one. */
  folders: 7,
  /** Milliseconds between two looks at the storage folders: whether a missing one is back, how much space is left. */
  folderLookMs: 2_000,
  /** Milliseconds that one look may take before people are told that the folder does not answer. */
  folderAnswerMs: 10_000,
  /** A disk is nearly full with less than this part of it free, or with less than so many bytes; of a small disk the bytes
   * count up to a fifth. It is no more once a quarter more than that is free. */
  spaceLowShare: 0.05,
  spaceLowBytes: 2048 * MiB,

  /** E3: a lease lasts this long, milliseconds. */
  leaseMs: 2_000,
  /** Milliseconds between heartbeats: several may be lost within a lease. */
  heartbeatMs: 250,
  /** E3: what a clock's rate error may cost: waiting for another's lease takes 5 % more (A1 allows 1 % each). */
  leaseMargin: 1.05,
  /** E8: a disk call overdue by this long takes its server out, milliseconds. */
  diskOverdueMs: 10_000,
  /** E8: the others stop answering a member that neither answers writes nor leaves by itself after this long. */
  memberOverdueMs: 13_000,
  /** Milliseconds a starting server waits for its peers before it asks the arbiter to go on without them. */
  startGraceMs: 5_000,
  /** C12: milliseconds between two times that the counts heard of other stores become durable. */
  peerCountMs: 10_000,
  /** E1, C12: configurations that are remembered although no replica is known to need them: an older copy of a storage
   * folder is told from another history as far back. */
  keptConfigurations: 64,
  /** Milliseconds between two looks at the arbiter's register when nothing is asked of it (E5). */
  registerReadMs: 5_000,
  /** Milliseconds after which an unanswered question to the arbiter is asked again. */
  registerAnswerMs: 1_500,
  /** Milliseconds a server may take to prepare a new volume's replica. */
  createAnswerMs: 15_000,
  /** Milliseconds each step of an orderly stop may take; then the next one begins without it. */
  stopStepMs: 6_000,
  /** E7: milliseconds in which planned stops of several servers count as one, so that the in-sync set stays. */
  stopTogetherMs: 400,
  /** E8: back-off between two attempts of a replica to return, milliseconds: first and largest. */
  returnBackoffMs: 1_000,
  returnBackoffMaxMs: 60_000,

  /** R3: milliseconds after which a server that does not answer is not asked for a good block any more; longer than a hung one
   * may stay (E8), so that nobody gets an error for what only takes its time. */
  repairAnswerMs: 15_000,
  /** Bytes a second that a scrub reads at most: a TiB in 18 hours; beside clients a piece a second. */
  scrubBytesPerSecond: 16 * MiB,
  /** Milliseconds from the end of one scrub to the beginning of the next: a week. */
  scrubEveryMs: 7 * 24 * 3_600_000,
  /** Regions after which it is kept how far a scrub is: what a restart reads again at most. */
  scrubSaveRegions: 16,
  /** R3: milliseconds in which repairs are told people as one event. */
  repairTellMs: 5_000,
  /** Milliseconds a region must have been quiet before its mark comes off (C1): busy regions are marked once. */
  markIdleMs: 3_000,
  /** Milliseconds (of turned time) without any progress after which the leader begins to form a session anew (E9); a disk that
   * is to blame has taken its server out long before. */
  formingStepMs: 30_000,
  /** C4, P7: a joiner that has not applied a write for this long is sent away, so that it does not delay clients. */
  joinerOverdueMs: 5_000,
  /** Milliseconds a step of a resync other than copying may take (a sync of what was copied is the longest). */
  joinStepMs: 60_000,
  /** Bytes. A piece of resync or settling; compared and copied under one permission (C4). */
  copyPieceBytes: 1 * MiB,
  /** Pieces under way at once. */
  copyPieces: 4,
  /** Asks for permission of one volume under way to one server: well above the requests that a volume executes, since an ask
   * stays when its request could begin by another grant. */
  policeAsks: 16_384,
  /** Pieces that the map of what one server granted may have (16 bytes each); beyond, only the largest are kept (P1). */
  heldPieces: 16_384,
  /** Grants to one server between which none of one's own uses began: then the next grow over what was used last (W7). */
  quietGrants: 8,
  /** Writes of one server from its oldest unconfirmed one to its newest: as many names another one may have to tell (C7). */
  unconfirmedWrites: 2_048,
  /** Ranges of regions in one message: what is in doubt, or marked (C2, C4). */
  toldRanges: 2_000,
  /** Bytes of JSON in one control message; a tell of five servers' names (150 bytes each) and doubts (50) is the longest. */
  controlBytes: 2 * MiB,
  /** Bytes of one link frame: the largest write and its header. */
  frameBytes: 33 * MiB,
  /** Bytes sent to one peer and not acknowledged by it; beyond this the volumes admit no write. All volumes' writes under way
   * stay within it, so only what an ended session left behind, and copies, bring it near. */
  linkBacklogBytes: 256 * MiB,
  /** Bytes handed to one link socket and not yet taken by the kernel; the rest waits in the stream, where a heartbeat
   * can overtake it: 2 MiB are 16 ms at 1 Gbit/s, far below a lease. */
  linkWindowBytes: 2 * MiB,
  /** Bytes of messages outside the stream that one stalled connection may hold; then they are "never" (sendNow). */
  linkUrgentBytes: 8 * MiB,
  /** Frames, and bytes, received before an acknowledgement goes alone: few enough to free the sender's memory soon. */
  linkAcknowledgeFrames: 64,
  linkAcknowledgeBytes: 1 * MiB,
  /** Milliseconds a stranger may take to prove that it knows the secret, and bytes one message of that may have. */
  linkHandshakeMs: 5_000,
  linkHandshakeBytes: 1024,
  /** Accepted connections that have not proved anything yet; beyond it the oldest is closed. */
  linkStrangers: 32,
  /** Milliseconds between two attempts to reach a peer: first and largest. */
  linkRetryMs: 100,
  linkRetryMaxMs: 1_000,
  /** Milliseconds between two warnings that strangers were refused for one reason. */
  linkTellRefusedMs: 60_000,

  /** Events kept for people in the activity list. */
  events: 1_000,
  /** Bytes of one API request body. */
  apiBodyBytes: 256 * KiB,
  /** Connections to one API listener, and event streams among them: a forgotten browser tab must not lock people out. */
  apiConnections: 128,
  apiStreams: 32,
  /** Milliseconds between two pushes of a stream: faster than the eye reads. */
  apiChangeMs: 100,
  /** Milliseconds between two signs of life of a quiet stream, so that both ends notice a dead one. */
  apiStreamBeatMs: 15_000,
  /** Milliseconds a stream's reader may take nothing before it is dropped. */
  apiStreamStalledMs: 60_000,
  /** Milliseconds a request's head, and the whole request, may take to arrive. */
  apiRequestMs: 10_000,
  /** Milliseconds a caller waits for an answer: from memory, and of what asks other servers and disks. */
  apiCallMs: 10_000,
  apiLongCallMs: 60_000,
  /** Milliseconds open API connections get to finish when the agent stops. */
  apiCloseMs: 1_000,
  /** Bytes of one message of a stream, as its reader accepts it: a status of 64 volumes and their clients. */
  apiMessageBytes: 8 * MiB,
  /** Bytes of all files of the console's page, kept in memory. */
  consoleBytes: 32 * MiB,
  /** Bytes of a Unix socket's path: Linux has 108 with the closing zero, macOS and the BSDs 104. */
  socketPathBytes: 107,
  socketPathBsdBytes: 103,
  /** Seconds a comparison of replicas may hold writes back: short of what clients call a failure. */
  holdSeconds: 10,
} as const

/**
 * @param volumes how many volumes this agent has
 * @returns bytes of writes that each of them may execute at once: together no more than a link's backlog (N2)
 */
export function shareOfLinks(volumes: number): number {
  return Math.min(limits.volumeBytes, Math.max(limits.writePartBytes, limits.linkBacklogBytes / volumes))
}

/** @throws InvariantBroken L1 when two limits contradict each other. */
export function checkLimits(of: { readonly [name in keyof typeof limits]: number } = limits): void {
  const check = (holds: boolean, words: string) => invariant(holds, 'L1', words)
  check(of.regionBytes % of.extentBytes === 0, 'a region is a whole number of extents')
  check(of.extentBytes % of.blockBytes === 0, 'an extent is a whole number of blocks')
  check(of.copyPieceBytes % of.blockBytes === 0, 'a copy piece is a whole number of blocks')
  check(of.regionBytes % of.copyPieceBytes === 0, 'a region is a whole number of copy pieces')
  check(of.pageBytes % of.blockBytes === 0, 'a page is a whole number of blocks')
  check(of.reservationsPage * of.pageBytes < of.hiddenBytes, 'the page of the reservations is in the hidden range')
  check(of.hiddenBytes <= of.regionBytes && of.hiddenStartBytes % of.regionBytes === 0, 'hidden: in one region')
  check(of.hiddenStartBytes >= of.volumeMaxBytes, 'no volume reaches the hidden range')
  check(of.hiddenStartBytes + of.hiddenBytes <= 2 ** 48, 'offsets of the hidden range travel')
  check(2 * of.compareBytes <= of.writePartBytes, 'a compare-and-write fits a part')
  check(of.diskCalls < of.threadPool, 'one disk must leave threads of the pool to the others')
  check(of.diskCalls < of.folderThreads, 'a further disk brings the threads that it may hold')
  check(Number.isInteger(Math.log2(of.diskSmallWrites)), 'counters of small writes wrap')
  check(of.slotPool / 2 > of.requestBytes / of.extentBytes + 1, 'half the slot pool holds the largest write')
  check(of.heartbeatMs * 4 <= of.leaseMs, 'a lease survives three lost heartbeats')
  check(of.leaseMs < of.diskOverdueMs, 'a disk is judged more slowly than a lease')
  check(of.diskOverdueMs < of.memberOverdueMs, 'a server judges its own disk before others judge it')
  check(of.memberOverdueMs < of.repairAnswerMs, 'who is hung is out before a repair gives up on it')
  check(of.unconfirmedWrites > of.volumeRequests, 'a volume executes as many writes as it may')
  check(of.policeAsks >= 8 * of.volumeRequests, 'asks under way stay below their limit')
  check(
    of.replicas * 150 * of.unconfirmedWrites + 50 * of.toldRanges <= of.controlBytes,
    'what a member tells fits a message',
  )
  check(of.creditSlots * of.extentBytes >= 2 * of.volumeBytes, 'writes under way find credit while more is on its way')
  check(of.clientBytes >= of.requestBytes, 'a client can send the largest request')
  check(of.refusedPayloadBytes >= of.requestBytes, 'a write of the largest size can be refused without closing')
  check(of.volumeBytes >= of.requestBytes, 'a volume can execute the largest request')
  check(of.passedRequests >= of.volumeRequests, 'a host takes as many requests as its origin may pass')
  check(of.passedAwayMs > 2 * of.leaseMs, 'a link that is made anew is waited for')
  check(of.slabRoomBytes <= of.slabBytes, 'a new slab has room')
  check(of.slabsKept * of.slabBytes >= of.volumeBytes, 'what a volume executes at once finds its memory again')
  check(of.frameBytes > of.requestBytes, 'a frame holds the largest write')
  check(of.linkWindowBytes < of.linkBacklogBytes, 'a link socket holds less than the stream behind it')
  check(of.linkUrgentBytes > of.linkWindowBytes + of.controlBytes, 'a full window still lets a message overtake it')
  check(of.linkAcknowledgeBytes < of.linkBacklogBytes, 'a peer acknowledges before its sender runs out of credit')
  check(of.apiStreamBeatMs < of.apiStreamStalledMs, 'a stalled stream is looked at before it is dropped')
  check(of.holdSeconds * 1000 < of.apiLongCallMs, 'who asks for a hold waits longer than it lasts')
  check(of.linkBacklogBytes > of.volumeBytes, 'the link holds all that a volume executes at once')
  check(
    of.volumes * of.writePartBytes <= of.linkBacklogBytes,
    'every volume has a share of the links that holds a write',
  )
  const copiesBytes = of.volumes * of.copyPieces * of.copyPieceBytes
  check(copiesBytes <= of.linkBacklogBytes, 'copies of all volumes fit the links beside writes')
  check(of.writePartBytes % of.extentBytes === 0, 'parts of a write are cut between extents')
  check(of.formingStepMs > 2 * of.diskOverdueMs, 'a disk is judged before the forming that waits for it begins anew')
}

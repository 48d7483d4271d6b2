/*
 * The permission protocol of agent/policing (P1-P3, P5, W2, W7): permission.ts with growth.ts and holds.ts, and the door of
 * ranges.ts before it, for SERVERS servers with SLOTS requests at once each. README.md says how to run it. Names are those
 * of the code; every handler is one step, as it is in the code (one turn of the event loop).
 *
 * Blocks. A volume is PORTIONS portions, a range a set of neighbouring ones: portion p is the bit 1 << p. A request is for
 * RANGE_A or RANGE_B (0: there is none).
 *
 * Time without end. Lamport times only ever are compared, and the clock that gives them is the volume's: its mirror ticks
 * and raises it too, so policing sees it jump by any amount. The model therefore keeps only the ORDER of the times in
 * use: they stand as 2, 4, 6 ..., a clock as the largest of them that it has reached, and a new time may come to stand
 * anywhere above its server's clock: in any gap (odd), or above all. Then they are numbered anew. A tie with another
 * server's time is decided by the ids, as if it stood in the gap right before or right behind that time, and binds later
 * times no less; so ties are chosen only where TIES is given, to see that the ids do decide them. Every run of integer
 * clocks has its image here, so what holds here holds there. Requests come without end: that nobody starves is said of
 * endless runs. A grant's time only raises a clock; leaving it out allows more runs, not fewer.
 *
 * Manners. recent.ts and quietGrants only ever make a grant grow less. So here each grant may grow as far as growth.ts
 * lets it, or not at all.
 */
#ifndef SERVERS
#define SERVERS 2
#endif
#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef PORTIONS
#define PORTIONS 3
#endif
#ifndef RANGE_A
#define RANGE_A 3
#endif
#ifndef RANGE_B
#define RANGE_B 6
#endif
/* The only range of the last server's requests, when it is given. */
#ifndef RANGE_LAST
#define RANGE_LAST 0
#endif
/* Most asks under way in one direction; one more is an error. More than SLOTS, since an ask stays when its use begins by
 * another grant. */
#ifndef ASKS
#define ASKS   (SLOTS + 1)
#endif

#define USES   (SERVERS * SLOTS)
#define PAIRS  (SERVERS * (SERVERS - 1))
#define TIMES  (2 * (USES + PAIRS * ASKS) + 4)
#if PORTIONS == 3
#define EVERY  7
#else
#define EVERY  3
#endif

/* P3: of two servers, the one of the smaller id begins with the right to give away what nobody holds yet. */
#if defined(BROKEN_BOTH_BEGIN_WITH_ALL)
#define BEGIN  EVERY
#elif SERVERS == 2
#define BEGIN  { EVERY, 0 }
#else
#define BEGIN  { EVERY, EVERY, 0, EVERY, 0, 0 }
#endif

/* Mode. */
#define SHARED    1
#define EXCLUSIVE 2

/* UsePhase of use.ts; ENDED only inside the step that releases it. */
#define IDLE   0
#define BEHIND 1
#define ASKING 2
#define ACTIVE 3
#define ENDED  4

/* An ask: on its way or granted, or deferred where it was sent to. */
#define UNDERWAY 0
#define DEFERRED 1

#define ASK   0
#define GRANT 1

#define pair(me, other)     ((me) * (SERVERS - 1) + (other) - ((other) > (me) -> 1 : 0))
#define serverOf(slot)      ((slot) / SLOTS)
#define conflicts(one, two) ((one) == EXCLUSIVE || (two) == EXCLUSIVE)

/* Asks that others of this server are owed. */
#if SERVERS == 2
#define owedBy(me)          owed[me]
#else
#define owedBy(me)          (owed[2 * (me)] + owed[2 * (me) + 1])
#endif

#if defined(BROKEN_TIES_YIELD)
#define isOlder(time1, server1, time2, server2) ((time1) < (time2))
#elif defined(BROKEN_TIES_WAIT)
#define isOlder(time1, server1, time2, server2) ((time1) <= (time2))
#else
#define isOlder(time1, server1, time2, server2) ((time1) < (time2) || ((time1) == (time2) && (server1) < (server2)))
#endif

/* A request and its use. */
byte phase[USES];
byte mode[USES];
byte range[USES];
byte time[USES];     /* askedTime; 0 unless ASKING */
byte blockers[USES]; /* a bit for each slot of its server that it is behind */

/* A server. */
bit opened[SERVERS];
byte clock[SERVERS];
/* The largest time in use. */
byte newest;

/* Only inside a step, else 0: a new time, or which of its grants do not grow. */
byte chosen;

/* What a server knows of a peer: pair(server, peer). A bit for each portion that is held at least so. */
bit hasAnswered[PAIRS];
byte holdsShared[PAIRS] = BEGIN;
byte holdsExclusive[PAIRS] = BEGIN;
/* Peer.asked: ASKS places for each pair(server, peer), oldest first; time 0 is a free one. Those that are DEFERRED are what
 * that peer has as Peer.deferred of this server. */
byte askTime[PAIRS * ASKS];
byte askMode[PAIRS * ASKS];
byte askRange[PAIRS * ASKS];
bit askIs[PAIRS * ASKS];
/* How many asks are deferred: pair(server, peer). */
byte owed[PAIRS];

/* Kind, time of the ask, granted range. Room for every ask that can be under way and every grant that can answer one; a
 * send that blocks in a d_step is an error. */
chan link[PAIRS] = [2 * ASKS] of { bit, byte, byte };

/* Only used inside one step: no part of the state. */
hidden byte aUse, aPeer, anAsk, aTime, another, thePeer, theAsk, count, given, next, growable;
hidden byte seenKind, seenTime, seenRange, grants, ended, before;
hidden byte newTime[TIMES];
hidden byte comingShared[PAIRS], comingExclusive[PAIRS];
hidden byte flag, isFirst, freeShared;

/* ---- helpers ---- */

/* anAsk: where this ask stands; an error when there is none. */
inline findAsk(asking, other, itsTime) {
  anAsk = pair(asking, other) * ASKS;
  do
  :: askTime[anAsk] == itsTime -> break
  :: else -> anAsk++; assert(anAsk < (pair(asking, other) + 1) * ASKS)
  od
}

/* Numbers the times in use anew, 2, 4, 6 ...; clocks fall to the largest one that they have reached. */
inline renumber() {
  aTime = 0;
  do :: aTime < TIMES -> newTime[aTime] = 0; aTime++ :: else -> break od;
  aUse = 0;
  do :: aUse < USES -> newTime[time[aUse]] = 1; aUse++ :: else -> break od;
  anAsk = 0;
  do :: anAsk < PAIRS * ASKS -> newTime[askTime[anAsk]] = 1; anAsk++ :: else -> break od;
  newTime[0] = 0;
  aTime = 1;
  count = 0;
  do
  :: aTime < TIMES -> if :: newTime[aTime] == 1 -> count = count + 2 :: else fi; newTime[aTime] = count; aTime++
  :: else -> break
  od;
  newest = count;
  aUse = 0;
  do :: aUse < USES -> time[aUse] = newTime[time[aUse]]; aUse++ :: else -> break od;
  anAsk = 0;
  do :: anAsk < PAIRS * ASKS -> askTime[anAsk] = newTime[askTime[anAsk]]; anAsk++ :: else -> break od;
  aPeer = 0;
  do :: aPeer < SERVERS -> clock[aPeer] = newTime[clock[aPeer]]; aPeer++ :: else -> break od;
  skip
}

/* P5: what was granted to one of two servers, the other one does not hold against it. A grant that is under way counts as
 * its receiver's, the right to give away what nobody holds yet as held (P3). On its way through the links it does their
 * part of numbering anew. */
inline checkPairs() {
  another = 0;
  do
  :: another < PAIRS ->
    comingShared[another] = holdsShared[another];
    comingExclusive[another] = holdsExclusive[another];
    another++
  :: else -> break
  od;
  thePeer = 0;
  do
  :: thePeer < SERVERS ->
    aPeer = 0;
    do
    :: aPeer < SERVERS ->
      if
      :: aPeer != thePeer ->
        count = len(link[pair(thePeer, aPeer)]);
        do
        :: count > 0 ->
          link[pair(thePeer, aPeer)]?seenKind, seenTime, seenRange;
          link[pair(thePeer, aPeer)]!seenKind, newTime[seenTime], seenRange;
          if
          :: seenKind == GRANT ->
            findAsk(aPeer, thePeer, newTime[seenTime]);
            another = pair(aPeer, thePeer);
            comingShared[another] = comingShared[another] | seenRange;
            if
            :: askMode[anAsk] == EXCLUSIVE -> comingExclusive[another] = comingExclusive[another] | seenRange
            :: else
            fi
          :: else
          fi;
          count--
        :: else -> break
        od
      :: else
      fi;
      aPeer++
    :: else -> break
    od;
    thePeer++
  :: else -> break
  od;
  thePeer = 0;
  do
  :: thePeer < SERVERS ->
    aPeer = 0;
    do
    :: aPeer < SERVERS ->
      if
      :: aPeer != thePeer -> assert((comingExclusive[pair(thePeer, aPeer)] & comingShared[pair(aPeer, thePeer)]) == 0)
      :: else
      fi;
      aPeer++
    :: else -> break
    od;
    thePeer++
  :: else -> break
  od;
  another = 0; thePeer = 0; aPeer = 0; skip /* a loop must not be the last thing in a d_step */
}

/* The end of every step. */
inline settle() {
  renumber();
  checkPairs()
}

inline observe(me, seen) {
  if :: seen > clock[me] -> clock[me] = seen :: else fi
}

/* W2, W3: what excludes each other is never active together. Checked whenever anything begins. */
inline checkExclusion(begun) {
  another = 0;
  do
  :: another < USES ->
    assert(another == begun || phase[another] != ACTIVE || !conflicts(mode[another], mode[begun]) ||
           (range[another] & range[begun]) == 0);
    another++
  :: else -> break
  od
}

/* ---- permission.ts ---- */

/* Peer.granted of peer.ts */
#define granted(me, peer, mine) \
  (hasAnswered[pair(me, peer)] && \
   (range[mine] & ~(mode[mine] == EXCLUSIVE -> holdsExclusive[pair(me, peer)] : holdsShared[pair(me, peer)])) == 0)

/* #comesFirst: flag falls when an ask of this peer does */
inline comesFirst(me, peer, mine) {
  anAsk = pair(peer, me) * ASKS;
  do
  :: anAsk < (pair(peer, me) + 1) * ASKS ->
    if
    :: askTime[anAsk] != 0 && askIs[anAsk] == DEFERRED && (askRange[anAsk] & range[mine]) != 0 &&
       conflicts(askMode[anAsk], mode[mine]) && isOlder(askTime[anAsk], peer, time[mine], me) -> flag = false
    :: else
    fi;
    anAsk++
  :: else -> break
  od
}

/* #mayBegin: flag */
inline mayBegin(me, mine) {
  flag = opened[me];
  aPeer = 0;
  do
  :: aPeer < SERVERS ->
    if
    :: aPeer != me ->
      if :: !granted(me, aPeer, mine) -> flag = false :: else fi;
#ifndef BROKEN_BEGINS_YOUNGER
      comesFirst(me, aPeer, mine)
#endif
    :: else
    fi;
    aPeer++
  :: else -> break
  od
}

/* Asks under way stand by their time, not by when they were sent: else one state would have many faces. */
inline addAsk(me, peer, mine) {
  anAsk = (pair(me, peer) + 1) * ASKS - 1;
  assert(askTime[anAsk] == 0);
  do
  :: anAsk > pair(me, peer) * ASKS && (askTime[anAsk - 1] == 0 || askTime[anAsk - 1] > time[mine]) ->
    askTime[anAsk] = askTime[anAsk - 1];
    askMode[anAsk] = askMode[anAsk - 1];
    askRange[anAsk] = askRange[anAsk - 1];
    askIs[anAsk] = askIs[anAsk - 1];
    anAsk--
  :: else -> break
  od;
  askTime[anAsk] = time[mine];
  askMode[anAsk] = mode[mine];
  askRange[anAsk] = range[mine];
  askIs[anAsk] = UNDERWAY
}

inline removeAsk(me, peer) {
  do
  :: anAsk < (pair(me, peer) + 1) * ASKS - 1 ->
    askTime[anAsk] = askTime[anAsk + 1];
    askMode[anAsk] = askMode[anAsk + 1];
    askRange[anAsk] = askRange[anAsk + 1];
    askIs[anAsk] = askIs[anAsk + 1];
    anAsk++
  :: else -> break
  od;
  askTime[anAsk] = 0;
  askMode[anAsk] = 0;
  askRange[anAsk] = 0;
  askIs[anAsk] = UNDERWAY
}

/* #askFor */
inline askFor(me, mine) {
  aPeer = 0;
  do
  :: aPeer < SERVERS ->
    if
    :: opened[me] && aPeer != me && !granted(me, aPeer, mine) ->
      flag = true;
      anAsk = pair(me, aPeer) * ASKS;
      do
      :: anAsk < (pair(me, aPeer) + 1) * ASKS -> if :: askTime[anAsk] == time[mine] -> flag = false :: else fi; anAsk++
      :: else -> break
      od;
      if
      :: flag -> addAsk(me, aPeer, mine); link[pair(me, aPeer)]!ASK, time[mine], 0
      :: else
      fi
    :: else
    fi;
    aPeer++
  :: else -> break
  od
}

/* #begin */
inline begin(mine) {
  phase[mine] = ACTIVE;
  time[mine] = 0;
  checkExclusion(mine)
}

/* The next one by time of the uses that wait in these portions, later than `before`: aUse; USES when there is none. */
inline nextWaiting(me, portions) {
  aUse = USES;
  another = me * SLOTS;
  do
  :: another < (me + 1) * SLOTS ->
    if
    :: phase[another] == ASKING && time[another] > before && (range[another] & (portions)) != 0 &&
       (aUse == USES || time[another] < time[aUse]) -> aUse = another
    :: else
    fi;
    another++
  :: else -> break
  od;
  if :: aUse < USES -> before = time[aUse] :: else fi
}

/* #tryBegin of each that waits in these portions, oldest first */
inline tryBegin(me, portions) {
  before = 0;
  do
  :: true ->
    nextWaiting(me, portions);
    if :: aUse == USES -> break :: else fi;
    mayBegin(me, aUse);
    if
    :: flag -> begin(aUse)
    :: else -> askFor(me, aUse)
    fi
  od
}

/* growth.ts: given, what is granted */
inline grow(me, peer, ask) {
  freeShared = true;
  growable = EVERY;
  aUse = me * SLOTS;
  do
  :: aUse < (me + 1) * SLOTS ->
#ifndef BROKEN_GROWS_OVER_USES
    if :: phase[aUse] != IDLE && conflicts(mode[aUse], askMode[ask]) -> growable = growable & ~range[aUse] :: else fi;
#endif
    aUse++
  :: else -> break
  od;
  anAsk = pair(me, peer) * ASKS;
  do
  :: anAsk < (pair(me, peer) + 1) * ASKS ->
    if :: askTime[anAsk] != 0 -> freeShared = false :: else fi;
#ifndef BROKEN_GROWS_OVER_ASKS
    if
    :: askTime[anAsk] != 0 && conflicts(askMode[anAsk], askMode[ask]) -> growable = growable & ~askRange[anAsk]
    :: else
    fi;
#endif
    anAsk++
  :: else -> break
  od;
#ifdef BROKEN_GROWS_OVER_SHARED
  freeShared = true;
#endif
#ifndef BROKEN_GROWS_OVER_ANY
  growable = growable & (freeShared -> holdsShared[pair(me, peer)] : holdsExclusive[pair(me, peer)]);
#endif
  given = askRange[ask];
  assert(grants < 8);
  if :: (chosen >> grants) & 1 -> growable = 0 :: else fi;
  grants++;
  do
  :: true ->
    next = ((given << 1) | (given >> 1)) & ~given & growable;
    if :: next == 0 -> break :: else -> given = given | next fi
  od;
  skip
}

/* #tryYield of the ask at this place, of this peer */
inline tryYield(me, peer, ask) {
  flag = true;
  aUse = me * SLOTS;
  do
  :: aUse < (me + 1) * SLOTS ->
    if
    :: (range[aUse] & askRange[ask]) != 0 && conflicts(mode[aUse], askMode[ask]) ->
      if
#ifndef BROKEN_YIELDS_IN_USE
      :: phase[aUse] == ACTIVE -> flag = false
#endif
#ifdef BROKEN_WAITS_HOLDING
      /* Whoever waits keeps what others granted it, also from an older request. */
      :: phase[aUse] == ASKING && granted(me, peer, aUse) -> flag = false
#else
      :: phase[aUse] == ASKING && isOlder(time[aUse], me, askTime[ask], peer) -> flag = false
#endif
      :: else
      fi
    :: else
    fi;
    aUse++
  :: else -> break
  od;
#ifndef BROKEN_NOBODY_FIRST
  anAsk = pair(me, peer) * ASKS;
  do
  :: anAsk < (pair(me, peer) + 1) * ASKS ->
    if
    :: askTime[anAsk] != 0 && (askRange[anAsk] & askRange[ask]) != 0 && conflicts(askMode[anAsk], askMode[ask]) &&
       isOlder(askTime[anAsk], me, askTime[ask], peer) -> flag = false
    :: else
    fi;
    anAsk++
  :: else -> break
  od;
#endif
  if
  :: flag ->
    grow(me, peer, ask);
    askIs[ask] = UNDERWAY;
    owed[pair(me, peer)]--;
    link[pair(me, peer)]!GRANT, askTime[ask], given;
#ifdef BROKEN_KEEPS_GROWN
    given = askRange[ask];
#endif
    holdsExclusive[pair(me, peer)] = holdsExclusive[pair(me, peer)] & ~given;
    if
    :: askMode[ask] == EXCLUSIVE -> holdsShared[pair(me, peer)] = holdsShared[pair(me, peer)] & ~given
    :: else
    fi;
#ifndef BROKEN_NEVER_ASKS_AGAIN
    /* Who still waits asks again, with its old time. */
    before = 0;
    do
    :: true ->
      nextWaiting(me, askRange[ask]);
      if :: aUse == USES -> break :: else fi;
      if :: conflicts(mode[aUse], askMode[ask]) -> askFor(me, aUse) :: else fi
    od
#endif
  :: else
  fi
}

/* #yieldOver; the portions of a request or of an ask */
inline yieldOver(me, peer, portions) {
  theAsk = pair(peer, me) * ASKS;
  do
  :: theAsk < (pair(peer, me) + 1) * ASKS ->
    if
    :: askTime[theAsk] != 0 && askIs[theAsk] == DEFERRED && (askRange[theAsk] & (portions)) != 0 ->
      tryYield(me, peer, theAsk)
    :: else
    fi;
    theAsk++
  :: else -> break
  od
}

/* openSession */
inline open(me) {
  opened[me] = 1;
  tryBegin(me, EVERY);
  settle()
}

/* use; `at` is its new time */
inline use(mine, me, at) {
  phase[mine] = ASKING;
  time[mine] = at;
  clock[me] = at;
  mayBegin(me, mine);
  if
  :: flag -> begin(mine)
  :: else -> askFor(me, mine)
  fi;
  settle()
}

/* release, and Ranges.leave; whom it unblocks is handed in by its own step */
inline release(mine, me) {
  grants = 0;
  phase[mine] = ENDED;
  time[mine] = 0;
  ended = range[mine];
  thePeer = 0;
  do
  :: thePeer < SERVERS -> if :: thePeer != me -> yieldOver(me, thePeer, ended) :: else fi; thePeer++
  :: else -> break
  od;
  phase[mine] = IDLE;
  mode[mine] = 0;
  range[mine] = 0;
  aUse = me * SLOTS;
  do
  :: aUse < (me + 1) * SLOTS -> blockers[aUse] = blockers[aUse] & ~(1 << (mine - me * SLOTS)); aUse++
  :: else -> break
  od;
  settle()
}

inline onAsk(me, peer) {
  findAsk(peer, me, seenTime);
  theAsk = anAsk;
  assert(askIs[theAsk] == UNDERWAY);
  observe(me, seenTime);
  askIs[theAsk] = DEFERRED;
  owed[pair(me, peer)]++;
  tryYield(me, peer, theAsk);
  settle()
}

inline onGrant(me, peer) {
  findAsk(me, peer, seenTime);
  assert(askIs[anAsk] == UNDERWAY && (askRange[anAsk] & ~seenRange) == 0);
  holdsShared[pair(me, peer)] = holdsShared[pair(me, peer)] | seenRange;
  if
  :: askMode[anAsk] == EXCLUSIVE -> holdsExclusive[pair(me, peer)] = holdsExclusive[pair(me, peer)] | seenRange
  :: else
  fi;
  ended = askRange[anAsk];
  removeAsk(me, peer);
  isFirst = !hasAnswered[pair(me, peer)];
  hasAnswered[pair(me, peer)] = 1;
  if :: isFirst -> seenRange = EVERY :: else fi;
  tryBegin(me, seenRange);
#ifndef BROKEN_NEVER_YIELDS_LATER
  /* What was asked back while this grant was under way. */
  yieldOver(me, peer, ended);
#endif
  settle()
}

/* ranges.ts, enter: behind every present use of its server that excludes it */
inline enter(mine, me) {
  blockers[mine] = 0;
  aUse = me * SLOTS;
  do
  :: aUse < (me + 1) * SLOTS ->
    if
    :: aUse != mine && phase[aUse] != IDLE && conflicts(mode[aUse], mode[mine]) && (range[aUse] & range[mine]) != 0 ->
      blockers[mine] = blockers[mine] | (1 << (aUse - me * SLOTS))
    :: else
    fi;
    aUse++
  :: else -> break
  od;
  phase[mine] = BEHIND
}

/* A use is handed in; its time is any above the server's clock. */
inline handIn(mine, me) {
  chosen = clock[me] + 1;
  do
#ifdef TIES
  :: chosen <= newest -> chosen++
#else
  :: chosen < newest -> chosen = chosen + 2
#endif
  :: break
  od;
  skip; /* a loop must not stand right before a d_step */
  d_step { use(mine, me, chosen); chosen = 0 }
}

/* Which of so many grants do not grow: a bit for each. */
inline chooseGrowth(most) {
  do
  :: chosen + 1 < (1 << (most)) -> chosen++
  :: break
  od;
  skip
}

inline carry(sender, receiver) {
  grants = 0;
  link[pair(sender, receiver)]?seenKind, seenTime, seenRange;
  if
  :: seenKind == ASK -> onAsk(receiver, sender)
  :: else -> onGrant(receiver, sender)
  fi
}

/* ---- the world: one process for each request slot, one for each direction of a link ---- */

#define ME   (_pid / SLOTS)
#define FROM ((_pid - USES) / (SERVERS - 1))
#define TO   ((FROM + 1 + (_pid - USES) % (SERVERS - 1)) % SERVERS)

active [USES] proctype client() {
  assert(_pid < USES);
end_idle:
  do
  :: d_step { !opened[ME] -> open(ME) }
  :: opened[ME] -> break /* no more requests from here, for ever */
  :: atomic {
#ifdef ONLY_EXCLUSIVE
      mode[_pid] = EXCLUSIVE;
#else
      if :: mode[_pid] = SHARED :: mode[_pid] = EXCLUSIVE fi;
#endif
      if
      :: RANGE_LAST > 0 && ME == SERVERS - 1 -> range[_pid] = RANGE_LAST
      :: RANGE_LAST == 0 || ME < SERVERS - 1 -> range[_pid] = RANGE_A
      :: RANGE_B > 0 && (RANGE_LAST == 0 || ME < SERVERS - 1) -> range[_pid] = RANGE_B
      fi;
      d_step { enter(_pid, ME) }
      if
      :: blockers[_pid] == 0 -> handIn(_pid, ME)
      :: else
      fi
    }
    do
    :: d_step { !opened[ME] -> open(ME) }
    :: atomic { phase[_pid] == BEHIND && blockers[_pid] == 0 -> handIn(_pid, ME) }
    :: atomic {
        phase[_pid] == ACTIVE ->
        chooseGrowth(owedBy(ME));
        d_step { release(_pid, ME); chosen = 0 }
        break
      }
    od
  od;
end_content:
  false
}

active [SERVERS * (SERVERS - 1)] proctype carrier() {
  assert(FROM < SERVERS && TO < SERVERS && FROM != TO);
end_empty:
  do
  :: atomic {
      nempty(link[pair(FROM, TO)]) ->
      if
      :: link[pair(FROM, TO)]?[ASK, seenTime, seenRange] -> chooseGrowth(1)
      :: else -> chooseGrowth(owed[pair(TO, FROM)])
      fi;
      d_step { carry(FROM, TO); chosen = 0 }
    }
  od
}

#ifdef WATCHED
/* P2: whenever this slot's request waits, it is let in later. */
ltl granted { [] ((phase[WATCHED] == BEHIND || phase[WATCHED] == ASKING) -> <> (phase[WATCHED] == ACTIVE)) }
#endif

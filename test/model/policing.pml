/*
 * The permission protocol of agent/policing/permission.ts (P1-P3, P5, W2), with the door of ranges.ts before it, for
 * SERVERS servers with SLOTS requests at once each, on RANGES ranges of which neighbours overlap. README.md says how to
 * run it. Names are those of the code; every handler is one step, as it is in the code (one turn of the event loop).
 *
 * Time without end. Lamport times only ever are compared, and the clock that gives them is the volume's: its mirror ticks
 * and raises it too, so policing sees it jump by any amount. The model therefore keeps only the ORDER of the times in
 * use: they stand as 2, 4, 6 ..., a clock as the largest of them that it has reached, and a new time may come to stand
 * anywhere above its server's clock: in a gap (odd), on a time in use (a tie), or above all. Then they are numbered anew.
 * Every run of integer clocks has its image here, so what holds here holds there. Requests come without end: that nobody
 * starves is said of endless runs. A grant's time only raises a clock; leaving it out allows more runs, not fewer.
 *
 * What an ask says is read where its sender keeps it, asked[]/askedTime[]: neither changes while the ask is under way, since
 * only the grant ends it. So a link carries only "ask" and "grant". At most one of each is on it: capacity 2, and a third
 * one is an error (a send that blocks in a d_step).
 */
#ifndef SERVERS
#define SERVERS 2
#endif
#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef RANGES
#define RANGES 2
#endif

#define USES   (SERVERS * SLOTS)
#define PAIRS  (SERVERS * SERVERS)
#define NOBODY 255

/* Mode + 1, so that 0 is "none" for hold and asked. */
#define SHARED    1
#define EXCLUSIVE 2

/* UsePhase of use.ts. */
#define IDLE   0
#define BEHIND 1
#define ASKING 2
#define ACTIVE 3

#define ASK   0
#define GRANT 1

#define pair(me, other)      ((me) * SERVERS + (other))
#define serverOf(slot)       ((slot) / SLOTS)
#define conflicts(one, two)  ((one) == EXCLUSIVE || (two) == EXCLUSIVE)
#define covers(held, wanted) ((held) == EXCLUSIVE || (held) == (wanted))
#if RANGES == 0
/* No two requests overlap: whatever one server asks for may be active there together. */
#define overlap(one, two)    false
#else
/* Range r is the portions r and r + 1. */
#define overlap(one, two)    ((one) == (two) || (one) + 1 == (two) || (two) + 1 == (one))
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

/* A server. The queue is its ASKING uses by time; what is active is its ACTIVE ones. */
bit opened[SERVERS];
byte clock[SERVERS];

/* What a server knows of a peer: pair(server, peer). */
byte hold[PAIRS];
byte asked[PAIRS];
byte askedTime[PAIRS];
bit deferred[PAIRS]; /* what was deferred stands in asked[pair(peer, server)] */

chan link[PAIRS] = [2] of { bit };

/* Only used inside one step: no part of the state. (A short name here, as t, means something else in spin's program.) */
hidden byte head, aUse, another, aPair, aPeer, aTime, count, newTime[2 * USES + 4];
hidden byte flag;

/* ---- helpers ---- */

inline findHead(me) {
  head = NOBODY;
  aUse = (me) * SLOTS;
  do
  :: aUse < ((me) + 1) * SLOTS ->
    if
    :: phase[aUse] == ASKING && (head == NOBODY || time[aUse] < time[head]) -> head = aUse
    :: else
    fi;
    aUse++
  :: else -> break
  od
}

/* flag: does this server use anything in a mode that excludes the wanted one? */
inline findActive(me, wanted) {
  flag = false;
  aUse = (me) * SLOTS;
  do
  :: aUse < ((me) + 1) * SLOTS -> flag = flag || (phase[aUse] == ACTIVE && conflicts(mode[aUse], wanted)); aUse++
  :: else -> break
  od
}

/* flag: does a use of this server wait that excludes the wanted one and is older? */
inline findOlder(me, wanted, thatTime, peer) {
  flag = false;
  aUse = (me) * SLOTS;
  do
  :: aUse < ((me) + 1) * SLOTS ->
    flag = flag || (phase[aUse] == ASKING && conflicts(mode[aUse], wanted) && isOlder(time[aUse], me, thatTime, peer));
    aUse++
  :: else -> break
  od
}

/* Numbers the times in use anew, 2, 4, 6 ...; clocks fall to the largest one that they have reached. */
inline renumber() {
  aTime = 0;
  do :: aTime < 2 * USES + 4 -> newTime[aTime] = 0; aTime++ :: else -> break od;
  aUse = 0;
  do
  :: aUse < USES -> if :: time[aUse] > 0 -> newTime[time[aUse]] = 1 :: else fi; aUse++
  :: else -> break
  od;
  aPair = 0;
  do
  :: aPair < PAIRS -> if :: askedTime[aPair] > 0 -> newTime[askedTime[aPair]] = 1 :: else fi; aPair++
  :: else -> break
  od;
  aTime = 0;
  count = 0;
  do
  :: aTime < 2 * USES + 4 -> if :: newTime[aTime] == 1 -> count = count + 2 :: else fi; newTime[aTime] = count; aTime++
  :: else -> break
  od;
  aUse = 0;
  do :: aUse < USES -> if :: time[aUse] > 0 -> time[aUse] = newTime[time[aUse]] :: else fi; aUse++ :: else -> break od;
  aPair = 0;
  do
  :: aPair < PAIRS -> if :: askedTime[aPair] > 0 -> askedTime[aPair] = newTime[askedTime[aPair]] :: else fi; aPair++
  :: else -> break
  od;
  aPair = 0;
  do :: aPair < SERVERS -> clock[aPair] = newTime[clock[aPair]]; aPair++ :: else -> break od;
  skip /* a loop must not be the last thing in a d_step */
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
           (serverOf(another) == serverOf(begun) && !overlap(range[another], range[begun])));
    another++
  :: else -> break
  od
}

/* ---- permission.ts ---- */

/* #ask */
inline ask(me, peer) {
  findHead(me);
  if
  :: head != NOBODY && asked[pair(me, peer)] == 0 && !covers(hold[pair(me, peer)], mode[head]) ->
    asked[pair(me, peer)] = mode[head];
    askedTime[pair(me, peer)] = time[head];
    link[pair(me, peer)]!ASK
  :: else
  fi
}

/* #askForQueue */
inline askForQueue(me) {
  aPeer = 0;
  do
  :: aPeer < SERVERS ->
    if :: aPeer != me && !deferred[pair(me, aPeer)] -> ask(me, aPeer) :: else fi;
    aPeer++
  :: else -> break
  od
}

/* #mayBegin(head): flag */
inline mayBegin(me) {
  flag = true;
  aPeer = 0;
  do
  :: aPeer < SERVERS ->
    if
    :: aPeer != me && !covers(hold[pair(me, aPeer)], mode[head]) -> flag = false
#ifndef BROKEN_BEGINS_YOUNGER
    :: aPeer != me && deferred[pair(me, aPeer)] && conflicts(asked[pair(aPeer, me)], mode[head]) &&
       isOlder(askedTime[pair(aPeer, me)], aPeer, time[head], me) -> flag = false
#endif
    :: else
    fi;
    aPeer++
  :: else -> break
  od
}

/* #pump */
inline pump(me) {
  if
  :: opened[me] ->
    do
    :: true ->
      findHead(me);
      if :: head == NOBODY -> break :: else fi;
      mayBegin(me);
      if :: !flag -> break :: else fi;
      phase[head] = ACTIVE;
      time[head] = 0;
      checkExclusion(head)
    od;
#ifndef BROKEN_NEVER_ASKS_AGAIN
    askForQueue(me)
#endif
  :: else
  fi
}

/* #tryYield */
inline tryYield(me, peer) {
  if
  :: deferred[pair(me, peer)] ->
    findActive(me, asked[pair(peer, me)]);
#ifdef BROKEN_YIELDS_IN_USE
    flag = false;
#endif
    if
    :: flag /* later, when done */
    :: !flag && asked[pair(me, peer)] != 0 && conflicts(asked[pair(me, peer)], asked[pair(peer, me)]) &&
       isOlder(askedTime[pair(me, peer)], me, askedTime[pair(peer, me)], peer) /* ours goes first */
    :: else ->
      findOlder(me, asked[pair(peer, me)], askedTime[pair(peer, me)], peer);
#ifdef BROKEN_WAITS_HOLDING
      /* Whoever waits keeps what others granted it, also from an older request. */
      findHead(me);
      flag = flag || (head != NOBODY && covers(hold[pair(me, peer)], mode[head]) && conflicts(mode[head], asked[pair(peer, me)]));
#endif
      if
      :: flag ->
#ifndef BROKEN_NEVER_ASKS_BACK
        ask(me, peer)
#else
        skip
#endif
      :: else ->
        deferred[pair(me, peer)] = 0;
        hold[pair(me, peer)] =
          ((asked[pair(peer, me)] == EXCLUSIVE || hold[pair(me, peer)] == 0) -> 0 : SHARED);
        link[pair(me, peer)]!GRANT
      fi
    fi
  :: else
  fi
}

/* openSession */
inline open(me) {
  opened[me] = 1;
  pump(me);
#ifdef BROKEN_NEVER_ASKS_AGAIN
  askForQueue(me);
#endif
  renumber()
}

/* use; `at` is its new time */
inline use(mine, me, at) {
  phase[mine] = ASKING;
  time[mine] = at;
  clock[me] = at;
  renumber();
  aUse = me * SLOTS;
  count = 0;
  do
  :: aUse < (me + 1) * SLOTS -> if :: phase[aUse] == ASKING -> count++ :: else fi; aUse++
  :: else -> break
  od;
  if
  :: count == 1 ->
    pump(me)
#ifdef BROKEN_NEVER_ASKS_AGAIN
    if :: opened[me] -> askForQueue(me) :: else fi
#endif
  :: count != 1 && opened[me] -> askForQueue(me)
  :: else
  fi;
  renumber()
}

/* release, and Ranges.leave */
inline release(mine, me) {
  phase[mine] = IDLE;
  mode[mine] = 0;
  range[mine] = 0;
  aPair = 0;
  do
  :: aPair < SERVERS -> if :: aPair != me -> tryYield(me, aPair) :: else fi; aPair++
  :: else -> break
  od;
  pump(me);
  aUse = me * SLOTS;
  do
  :: aUse < (me + 1) * SLOTS -> blockers[aUse] = blockers[aUse] & ~(1 << (mine - me * SLOTS)); aUse++
  :: else -> break
  od;
  renumber()
}

inline onAsk(me, peer) {
  assert(!deferred[pair(me, peer)] && asked[pair(peer, me)] != 0);
  observe(me, askedTime[pair(peer, me)]);
  deferred[pair(me, peer)] = 1;
  tryYield(me, peer);
  pump(me);
  renumber()
}

inline onGrant(me, peer) {
  assert(asked[pair(me, peer)] != 0);
  if
  :: !covers(hold[pair(me, peer)], asked[pair(me, peer)]) -> hold[pair(me, peer)] = asked[pair(me, peer)]
  :: else
  fi;
  asked[pair(me, peer)] = 0;
  askedTime[pair(me, peer)] = 0;
  pump(me);
  if
  :: deferred[pair(me, peer)] -> tryYield(me, peer); pump(me)
  :: else
  fi;
  renumber()
}

/* ranges.ts, enter: behind every present use of its server that excludes it */
inline enter(mine, me, wanted, place) {
  blockers[mine] = 0;
  aUse = me * SLOTS;
  do
  :: aUse < (me + 1) * SLOTS ->
    if
    :: aUse != mine && phase[aUse] != IDLE && conflicts(mode[aUse], wanted) && overlap(range[aUse], place) ->
      blockers[mine] = blockers[mine] | (1 << (aUse - me * SLOTS))
    :: else
    fi;
    aUse++
  :: else -> break
  od;
  phase[mine] = BEHIND;
  mode[mine] = wanted;
  range[mine] = place
}

/* Any time above the server's clock: in a gap, a tie with another server's, above all. */
inline chooseTime(me, at) {
  newest = 0;
  d_step {
    aUse = 0;
    do :: aUse < USES -> if :: time[aUse] > newest -> newest = time[aUse] :: else fi; aUse++ :: else -> break od;
    aPair = 0;
    do :: aPair < SERVERS -> if :: clock[aPair] > newest -> newest = clock[aPair] :: else fi; aPair++ :: else -> break od;
    skip
  }
  at = clock[me] + 1;
  do
  :: at <= newest -> at++
  :: break
  od;
  skip /* nor stand right before one */
}

/* ---- the world: one process for each request slot, one for each direction of a link ---- */

active [USES] proctype client() {
  byte at, newest, wanted, place;
  byte me = _pid / SLOTS;
  assert(_pid < USES);
end_idle:
  do
  :: d_step { !opened[me] -> open(me) }
  :: opened[me] -> break /* no more requests from here, for ever */
  :: atomic {
      true ->
#ifdef ONLY_EXCLUSIVE
      wanted = EXCLUSIVE;
#else
      if :: wanted = SHARED :: wanted = EXCLUSIVE fi;
#endif
      place = 0;
      do :: place + 1 < RANGES -> place++ :: break od;
      skip;
      d_step { enter(_pid, me, wanted, place); wanted = 0; place = 0 }
      if
      :: blockers[_pid] == 0 -> chooseTime(me, at); d_step { use(_pid, me, at); at = 0; newest = 0 }
      :: else
      fi
    }
    do
    :: d_step { !opened[me] -> open(me) }
    :: atomic {
        phase[_pid] == BEHIND && blockers[_pid] == 0 ->
        chooseTime(me, at);
        d_step { use(_pid, me, at); at = 0; newest = 0 }
      }
    :: d_step { phase[_pid] == ACTIVE -> release(_pid, me) } break
    od
  od;
end_content:
  false
}

active [SERVERS * (SERVERS - 1)] proctype carrier() {
  bit word;
  byte from = (_pid - USES) / (SERVERS - 1);
  byte to = (from + 1 + (_pid - USES) % (SERVERS - 1)) % SERVERS;
  assert(from < SERVERS && to < SERVERS && from != to);
end_empty:
  do
  :: d_step {
      nempty(link[pair(from, to)]) ->
      link[pair(from, to)]?word;
      if
      :: word == ASK -> onAsk(to, from)
      :: else -> onGrant(to, from)
      fi;
      word = 0
    }
  od
}

#ifdef WATCHED
/* P2: whenever this slot's request waits, it is let in later. */
ltl granted { [] ((phase[WATCHED] == BEHIND || phase[WATCHED] == ASKING) -> <> (phase[WATCHED] == ACTIVE)) }
#endif

-- What a short way shares with the general one.
--
-- wire   W-02 W-41 W-104
return {
  -- What a claim or a read is told of a job, in this order.
  FIELDS = {
    "name", "data", "opts", "timestamp", "delay", "priority", "atm", "ats", "stc", "progress",
    "failedReason", "stacktrace", "parentKey", "rjk", "deid", "defa", "toril:unknown",
    "toril:origin", "toril:letter", "processedOn", "finishedOn", "returnvalue", "pb", "parent",
    "toril:cancel", "toril:slot", "toril:fault", "toril:index",
  },
  -- Where some of these stand.
  NAME = 1, DATA = 2, RUNS = 8, STARTED = 20, WORKER = 23,
  -- The keys of a job: what stands behind its id.
  BESIDE = { "", ":logs", ":dependencies", ":processed", ":failed", ":unsuccessful" },
  -- How many bytes of data one claim takes, unless one job alone has more.
  BYTES_A_CLAIM = 1000000,
  -- How many completed jobs stay, and for how many ms, in queues that toril made.
  KEEP_COMPLETED = "10000:86400000",
  -- A queue that is in use keeps as many events, whatever its bound.
  LEAST_EVENTS = 1000,
}

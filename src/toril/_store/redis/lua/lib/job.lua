-- The hash of a job, its lock, and the keys beside it.
--
-- use    limits
-- wire   W-20 W-21
local job = {}

local BESIDE = { "", ":logs", ":dependencies", ":processed", ":failed", ":unsuccessful" }
local ROUND = 150

-- What a claim or a read is told of a job, in this order.
job.FIELDS = {
  "name", "data", "opts", "timestamp", "delay", "priority", "atm", "ats", "stc", "progress",
  "failedReason", "stacktrace", "parentKey", "rjk", "deid", "defa", "toril:unknown",
  "toril:origin", "toril:letter", "processedOn", "finishedOn", "returnvalue", "pb", "parent",
  "toril:cancel",
}

local NOTHING = {}
-- What stands beside a job or a queue under a name that could be taken for an id.
local ENDS = { lock = true, logs = true, dependencies = true, processed = true, failed = true,
  unsuccessful = true }
local LEADS = { toril = true, de = true, dn = true, metrics = true }
local TAKEN = { delay = true, priority = true }
for _, name in pairs(ROLES) do
  TAKEN[name] = true
end

-- Read fields of a job; none if its key holds another kind of value.
function job.read(key, ...)
  local found = redis.pcall("HMGET", key, ...)
  return found.err and NOTHING or found
end

-- Return whether a job exists, however little of it.
function job.exists(key)
  local fields = redis.pcall("HLEN", key)
  return type(fields) == "number" and fields > 0
end

-- Return whether an id can be a job's. A list may hold the name of another key of its queue, which
-- must not be deleted as a job.
function job.is_id(id)
  if not id:find(":", 1, true) then
    return not TAKEN[id]
  elseif id:find("^repeat:") then
    return id:find("^repeat:.+:%d+$") ~= nil
  end
  return not LEADS[id:match("^[^:]*")] and not ENDS[id:match("[^:]*$")]
end

-- Delete these jobs with everything beside them but their locks; give how many keys went.
function job.forget(q, ids)
  local keys, gone = {}, 0
  limits.forget(q, ids)
  for i = 1, #ids do
    for j = 1, job.is_id(ids[i]) and #BESIDE or 0 do
      keys[#keys + 1] = q.base .. ids[i] .. BESIDE[j]
    end
    if #keys > 0 and (i % ROUND == 0 or i == #ids) then
      gone = gone + call("DEL", unpack(keys))
      keys = {}
    end
  end
  return gone
end

-- Split the key of a job into its queue and its id. The ids of a schedule's runs have colons.
function job.split(key)
  local base, id = key:match("^(.-:)(repeat:.+)$")
  if not base then
    base, id = key:match("^(.*:)([^:]*)$")
  end
  return queue_of(base), id
end

return job

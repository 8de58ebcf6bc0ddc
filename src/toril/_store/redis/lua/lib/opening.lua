-- The first job of a queue: see that its keys are what they should be, and mark it as toril's.
--
-- wire   W-41 W-104 W-135
local opening = {}

local TYPES = {
  wait = "list", prioritized = "zset", delayed = "zset", waiting_children = "zset",
  events = "stream", marker = "zset", meta = "hash", settings = "hash", id = "string",
  pc = "string", limits = "zset",
}
-- What jobs that have nothing special need of it: to look at more would cost most of what adding
-- one does.
local PLAIN = { "wait", "delayed", "events", "marker", "meta", "id" }
local MAX_EVENTS = "10000"

-- Say whether a key holds this type of value, or nothing.
function opening.holds(key, type)
  local found = call("TYPE", key).ok
  return found == type or found == "none"
end

-- Say whether a key cannot be used as its role wants.
local function unfit(q, role)
  local key, type = q[role], TYPES[role]
  if not opening.holds(key, type) then
    return true
  end
  return type == "string" and not tonumber(call("GET", key) or 0)
end

-- Find a key of a queue that no job can be put into; false when there is none.
local function misfit(q)
  for role in pairs(TYPES) do
    if unfit(q, role) then
      return q[role]
    end
  end
  return false
end

-- Name the key that keeps jobs out of a queue that have nothing special, or false.
function opening.plain_fault(q)
  for i = 1, #PLAIN do
    if unfit(q, PLAIN[i]) then
      return q[PLAIN[i]]
    end
  end
  return false
end

-- Name the key that keeps jobs out of a queue, or false; looked up once a call.
function opening.fault(q)
  if q.fault == nil then
    q.fault = misfit(q)
  end
  return q.fault
end

-- Return how many jobs may wait to run, or false where nothing bounds that; read once a call.
function opening.most(q)
  if q.most == nil then
    q.most = tonumber(call("HGET", q.settings, "max_waiting") or "") or false
  end
  return q.most
end

-- Note, at the first job of a queue that nobody knows, that toril made it: its bounds hold there.
function opening.open(q)
  if q.opened == nil then
    q.opened = call("EXISTS", q.meta) == 0
    if q.opened then
      call("HSET", q.meta, "opts.maxLenEvents", MAX_EVENTS)
      call("HSET", q.settings, "bounded", "1")
    end
  end
end

return opening

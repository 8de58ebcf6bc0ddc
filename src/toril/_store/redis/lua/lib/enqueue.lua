-- Store a job and put it in its place.
--
-- A job is a table of texts; "" and nil mean absent: id name data opts timestamp delay, at (when it
-- may start, instead of a delay), priority, front (before the others), waits (for its children), parent (its key) and link (what the
-- child says of it), known (the parent may have had a child with this id), rjk (its schedule),
-- deid (its dedup key), index (JSON: its fields
-- and their values).
--
-- use    clock event limits opening place search tally wake
-- emits  added waiting delayed waiting-children
-- wire   W-20 W-27 W-44 W-73 W-150 W-156
local enqueue = {}

local OPTIONAL = { "rjk", "rjk", "deid", "deid", "at", "toril:at", "index", "toril:index" }

local function given(value)
  return value ~= "" and value or nil
end

-- Count a job in its queue; give its id: its own, or that count.
function enqueue.number(q, id)
  local number = call("INCR", q.id)
  return given(id) or tostring(number)
end

-- Give when a job is due, or nil if it may start at once; and its delay, as BullMQ counts it.
function enqueue.due(job, created, now)
  local at, delay = tonumber(given(job.at)), tonumber(given(job.delay)) or 0
  if not at then
    return delay > 0 and created + delay or nil, delay
  end
  delay = math.max(at - created, 0)
  if at <= now then
    return nil, given(job.waits) and delay or 0
  end
  return at, delay
end

-- Count a child of a parent. The count only orders its children: one that is no number begins again.
function enqueue.nth(parent)
  local nth = attempt("HINCRBY", parent, "toril:kids", 1)
  if type(nth) == "table" then
    call("HSET", parent, "toril:kids", 1)
    return 1
  end
  return nth
end

-- Write the hash of a job.
local function write(q, id, job, created, delay)
  local row = { "name", job.name, "data", given(job.data) or "{}", "opts", given(job.opts) or "{}",
    "timestamp", created, "delay", delay, "priority", given(job.priority) or 0 }
  if given(job.parent) then
    -- The place among its siblings, to list them in the order in which they were added.
    local nth = enqueue.nth(job.parent)
    local n = #row
    row[n + 1], row[n + 2], row[n + 3], row[n + 4] = "parentKey", job.parent, "parent", job.link
    row[n + 5], row[n + 6] = "toril:nth", nth
  end
  for i = 1, #OPTIONAL, 2 do
    local value = given(job[OPTIONAL[i]])
    if value then
      row[#row + 1] = OPTIONAL[i + 1]
      row[#row + 1] = value
    end
  end
  call("HSET", q.base .. id, unpack(row))
end

-- Let a parent wait for a child, whatever it knew of one with this key before.
function enqueue.join(parent, child, known)
  if known then
    call("ZREM", parent .. ":unsuccessful", child)
    call("HDEL", parent .. ":failed", child)
    call("HDEL", parent .. ":processed", child)
    call("HDEL", parent, "toril:child:" .. child)
  end
  call("SADD", parent .. ":dependencies", child)
end

-- Store a job whose id is free, and put it where its options say.
function enqueue.store(q, id, job, now)
  local created = tonumber(given(job.timestamp)) or now
  local due, delay = enqueue.due(job, created, now)
  local priority = tonumber(given(job.priority)) or 0
  opening.open(q)
  write(q, id, job, created, string.format("%.0f", delay))
  -- The next run of a schedule ends when it is claimed, so that the schedule goes on from there.
  if not given(job.rjk) then
    limits.note(q, id, job.opts, created)
  end
  if given(job.index) then
    search.add(q, id, job.index, created)
  end
  event.emit(q, "added", "jobId", id, "name", job.name)
  tally.add(q, job.name, "e")
  if given(job.waits) then
    call("ZADD", q.waiting_children, created, id)
    event.emit(q, "waiting-children", "jobId", id)
  elseif due then
    place.delay(q, id, due)
    event.emit(q, "delayed", "jobId", id, "delay", due)
  else
    place.ready(q, id, priority, priority == 0 and given(job.front))
    event.emit(q, "waiting", "jobId", id)
  end
  if given(job.parent) then
    enqueue.join(job.parent, q.base .. id, job.known)
  end
end

-- Store a job that has nothing to be checked for, and give its id.
function enqueue.put(q, job, now)
  local id = enqueue.number(q, job.id)
  enqueue.store(q, id, job, now)
  return id
end

return enqueue

-- At most one job a key: hold a dedup key, give it back, and add the job that was kept for then.
--
-- use    enqueue event job links names numbers
-- emits  duplicated
-- wire   W-80 W-84 W-86 W-87
local dedup = {}

-- Give the key that names the holder of a dedup key.
function dedup.owner(q, deid)
  return q.base .. "de:" .. deid
end

-- Give the key of the job that is kept until the holder has finished.
function dedup.next(q, deid)
  return q.base .. "dn:" .. deid
end

-- Let a job hold a key, for a time or until it has finished.
function dedup.hold(key, id, ttl)
  ttl = numbers.count(ttl) or 0
  if ttl > 0 then
    call("SET", key, id, "PX", string.format("%.0f", ttl))
  else
    call("SET", key, id)
  end
end

-- Read stored options, which anybody may have written.
local function options_of(text)
  local fine, found = pcall(cjson.decode, text or "{}")
  return fine and type(found) == "table" and found or {}
end

local function number(value)
  return numbers.count(value) or 0
end

-- Store a job that was kept, as its options say, with the key that it was kept for.
local function store(q, deid, id, kept, now)
  local options = options_of(kept[3])
  local own = type(options.de) == "table" and options.de or {}
  -- A parent that no longer waits was told that nothing holds it back.
  local parent = links.is_job(kept[5]) and kept[5]
  if parent then
    local above, name = job.split(parent)
    parent = call("ZSCORE", above.waiting_children, name)
  end
  dedup.hold(dedup.owner(q, deid), id, own.keepLastIfActive ~= true and own.ttl)
  enqueue.store(q, id, {
    id = id, name = kept[1], data = kept[2], opts = kept[3], rjk = kept[7], deid = deid,
    delay = number(options.delay), priority = number(options.priority),
    at = type(options.toril) == "table" and tonumber(options.toril.at) or "",
    front = options.lifo == true and "1" or "",
    parent = parent and kept[5] or "", link = kept[6], known = parent,
  }, now)
end

-- Add the job that was kept for when the key would be free.
local function requeue(q, deid, now)
  local key = dedup.next(q, deid)
  local kept = call("HMGET", key, "name", "data", "opts", "jid", "pk", "pd", "rjk")
  if not kept[1] then
    return
  end
  local id = enqueue.number(q, kept[4])
  -- Somebody else may have taken its id meanwhile.
  if call("EXISTS", q.base .. id) == 1 or not names.is_id(id) then
    event.emit(q, "duplicated", "jobId", id)
  else
    store(q, deid, id, kept, now)
  end
  call("DEL", key)
end

-- A job has finished: give its key back, unless it holds that for a time, and add who was kept.
function dedup.finish(q, deid, id, now)
  local key = dedup.owner(q, deid)
  local holder, left = call("GET", key), call("PTTL", key)
  if left == 0 or (holder == id and left < 0) then
    call("DEL", key)
  end
  if not holder or holder == id then
    requeue(q, deid, now)
  end
end

-- A job is taken away: give its key back if it holds it, and forget who was kept.
function dedup.drop(q, deid, id)
  local key = dedup.owner(q, deid)
  if call("GET", key) == id then
    call("DEL", key, dedup.next(q, deid))
  end
end

-- A job gives up its key while it lives: who was kept for later need not wait any longer.
function dedup.free(q, deid, id, now)
  local key = dedup.owner(q, deid)
  if call("GET", key) == id then
    call("DEL", key)
    requeue(q, deid, now)
  end
end

return dedup

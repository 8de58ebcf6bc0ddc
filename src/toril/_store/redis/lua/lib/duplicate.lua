-- A second job with a dedup key that is held: which of the two stays, and what becomes of it.
--
-- A job's `mode` names what its options say: extend replace reschedule keep-last. Its `ttl` is ""
-- where the key is held until the job has finished.
--
-- use    dedup enqueue event job place
-- emits  deduplicated delayed removed
-- wire   W-81 W-82 W-83 W-84 W-85
local duplicate = {}

-- Children whose jobs were replaced: pairs of parent and child, to be parted when all is stored.
duplicate.replaced = {}

local function tell(q, new, stays, dropped)
  event.emit(q, "deduplicated", "jobId", stays, "deduplicationId", new.deid,
    "deduplicatedJobId", dropped)
end

-- Put a job in the place of a delayed one, which is out of there already.
local function replace(q, new, id, old, extend)
  local key, child = dedup.owner(q, new.deid), q.base .. old
  local parent = job.read(child, "parentKey")[1]
  if parent then
    duplicate.replaced[#duplicate.replaced + 1] = { parent, child }
  end
  job.forget(q, { old })
  event.emit(q, "removed", "jobId", old, "prev", "delayed")
  tell(q, new, id, old)
  call("DEL", dedup.next(q, new.deid))
  if new.ttl ~= "" and not extend then
    call("SET", key, id, "KEEPTTL")
  else
    dedup.hold(key, id, new.ttl)
  end
end

-- Keep a job until the active one that holds its key has finished, instead of one kept before.
local function keep(q, new, id, holder)
  local kept = dedup.next(q, new.deid)
  local row = { "name", new.name, "data", new.data, "opts", new.opts, "jid", id }
  if new.parent ~= "" then
    local n = #row
    row[n + 1], row[n + 2], row[n + 3], row[n + 4] = "pk", new.parent, "pd", new.link
    row[n + 5], row[n + 6] = "pdk", new.parent .. ":dependencies"
  end
  if new.rjk ~= "" then
    row[#row + 1], row[#row + 2] = "rjk", new.rjk
  end
  call("DEL", kept)
  call("HSET", kept, unpack(row))
  call("PERSIST", dedup.owner(q, new.deid))
  tell(q, new, holder, id)
end

-- Move a delayed job to the delay that another one would have had.
local function reschedule(q, new, holder, now)
  if not call("ZSCORE", q.delayed, holder) or not job.read(q.base .. holder, "name")[1] then
    return
  end
  local created = tonumber(new.timestamp) or now
  local due, delay = enqueue.due(new, created, now)
  due = due or created
  call("HSET", q.base .. holder, "delay", delay)
  place.delay(q, holder, due)
  event.emit(q, "delayed", "jobId", holder, "delay", due)
end

-- Say whose job stands for this one, and how; nil when it is to be stored, and holds its key.
function duplicate.take(q, new, id, now)
  local mode, key = {}, dedup.owner(q, new.deid)
  for word in new.mode:gmatch("%S+") do
    mode[word] = true
  end
  local holder = call("GET", key)
  if not holder then
    return dedup.hold(key, id, new.ttl)
  elseif mode.replace and call("ZREM", q.delayed, holder) == 1 then
    return replace(q, new, id, holder, mode.extend)
  elseif call("PTTL", key) < 0 and call("EXISTS", q.base .. holder) == 0 then
    -- Its holder is gone, and nobody else would ever free it.
    call("DEL", dedup.next(q, new.deid))
    return dedup.hold(key, id, new.ttl)
  elseif mode["keep-last"] and call("LPOS", q.active, holder) then
    keep(q, new, id, holder)
    return holder, "stored-next"
  elseif not mode.replace then
    if mode.extend and new.ttl ~= "" then
      dedup.hold(key, holder, new.ttl)
    end
    tell(q, new, holder, id)
    if mode.reschedule then
      reschedule(q, new, holder, now)
    end
  end
  return holder, "deduplicated"
end

return duplicate

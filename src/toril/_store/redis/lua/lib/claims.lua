-- Take jobs of a queue under a lock.
--
-- use    clock event job place wake
-- emits  waiting active
-- wire   W-33 W-50 W-51
local claims = {}

local DUE_A_CALL = 250
local LOOK_AHEAD = 64
local NAME, RUNS, DEFERRED, STARTED, WORKER = 1, 8, 16, 20, 23

-- Make delayed jobs ready whose time has come, a bounded number a call.
function claims.promote(q, now)
  local due = call("ZRANGEBYSCORE", q.delayed, "-inf", place.due_by(now), "LIMIT", 0, DUE_A_CALL)
  if #due == 0 then
    return
  end
  call("ZREM", q.delayed, unpack(due))
  for i = 1, #due do
    local key = q.base .. due[i]
    local priority = call("HGET", key, "priority")
    -- An id without a job is only taken out.
    if priority or call("EXISTS", key) == 1 then
      place.ready(q, due[i], priority)
      event.emit(q, "waiting", "jobId", due[i], "prev", "delayed")
      call("HSET", key, "delay", 0)
    end
  end
end

-- Say how many of `limit` jobs the rate allows, and until when it allows none.
local function within_rate(q, most, limit, now)
  local used = tonumber(call("GET", q.limiter) or 0)
  if used < BY_HAND and (not most or used < most) then
    return most and math.min(limit, most - used) or limit
  end
  local left = call("PTTL", q.limiter)
  if left > 0 then
    return 0, now + left
  end
  if left == 0 then
    call("DEL", q.limiter)
  end
  return most and math.min(limit, most) or limit
end

-- Say how many jobs may start now, what holds others back, and until when.
local function room(q, want, meta, now)
  if meta[1] then
    return 0, "paused"
  end
  local limit, held = within_rate(q, tonumber(meta[3] or want.max), tonumber(want.limit), now)
  if held then
    -- A limit that only this worker has holds back nobody else.
    local own = not meta[3] and tonumber(call("GET", q.limiter) or 0) < BY_HAND
    return 0, "rate", held, own
  end
  if meta[2] then
    limit = math.min(limit, tonumber(meta[2]) - call("LLEN", q.active))
    if limit <= 0 then
      return 0, "concurrency"
    end
  end
  return limit, ""
end

-- Take ids off the front: those that wait from the right, then those with a priority.
local function take_off(q, limit)
  local ids = call("RPOP", q.wait, limit) or {}
  if #ids < limit then
    local more = call("ZPOPMIN", q.prioritized, limit - #ids)
    for i = 1, #more, 2 do
      ids[#ids + 1] = more[i]
    end
    if #more == 0 then
      call("DEL", q.pc)
    end
  end
  return ids
end

-- Take an id out of its place.
local function take_out(q, id)
  if call("LREM", q.wait, -1, id) == 0 then
    call("ZREM", q.prioritized, id)
  end
end

-- Look at the ids in front, in the order in which they would run, without taking them.
local function in_front(q)
  local waiting = call("LRANGE", q.wait, -LOOK_AHEAD, -1)
  local ids = {}
  for i = #waiting, 1, -1 do
    ids[#ids + 1] = waiting[i]
  end
  if #ids < LOOK_AHEAD then
    local more = call("ZRANGE", q.prioritized, 0, LOOK_AHEAD - #ids - 1)
    for i = 1, #more do
      ids[#ids + 1] = more[i]
    end
  end
  return ids
end

-- Choose jobs and take them out of their places; pass over names in `skip`.
local function choose(q, limit, skip)
  local found = {}
  local ids = skip and in_front(q) or take_off(q, limit)
  for i = 1, #ids do
    local fields = call("HMGET", q.base .. ids[i], unpack(job.FIELDS))
    local wanted = fields[NAME] and #found < limit and not (skip and skip[fields[NAME]])
    if wanted then
      found[#found + 1] = { ids[i], fields }
    end
    -- An id without a job goes too, or it would stand in front for ever.
    if skip and (wanted or not fields[NAME]) then
      take_out(q, ids[i])
    end
  end
  return found
end

-- Lock a job for a worker, and say so.
local function hold(q, want, found, now)
  local id, fields = found[1], found[2]
  local key = q.base .. id
  fields[RUNS] = tostring((tonumber(fields[RUNS]) or 0) + 1)
  fields[STARTED] = now
  call("SET", key .. ":lock", want.token, "PX", want.lock)
  if want.worker ~= "" then
    fields[WORKER] = want.worker
    call("HSET", key, "processedOn", clock.text, "ats", fields[RUNS], "pb", want.worker)
  else
    call("HSET", key, "processedOn", clock.text, "ats", fields[RUNS])
  end
  event.emit(q, "active", "jobId", id, "prev", "waiting")
end

-- Count started jobs in the window of the rate limit, which the first of them opens.
local function count(q, found, window)
  local started = 0
  for i = 1, #found do
    started = started + (found[i][2][DEFERRED] and 0 or 1)
  end
  if started > 0 and call("INCRBY", q.limiter, started) == started then
    call("PEXPIRE", q.limiter, window)
  end
end

-- Read every key that is written to below: this fails where one holds another kind of value.
local function touch(q)
  call("LLEN", q.wait)
  call("LLEN", q.active)
  call("ZCARD", q.prioritized)
  call("ZCARD", q.delayed)
  call("ZCARD", q.marker)
  call("XLEN", q.events)
  call("HLEN", q.meta)
  call("GET", q.limiter)
end

-- Take up to so many jobs; give them, the time of the next look (or nil), and what holds back.
-- Nothing is taken from a damaged queue: an id that left one key might not arrive in the next.
function claims.take(want, skip, now)
  local q = want.queue
  if not pcall(touch, q) then
    return { {}, false, "damaged" }
  end
  claims.promote(q, now)
  local meta = call("HMGET", q.meta, "paused", "concurrency", "max", "duration")
  local limit, blocked, held, own = room(q, want, meta, now)
  local found = limit > 0 and choose(q, limit, skip) or {}
  local ids = {}
  for i = 1, #found do
    ids[i] = found[i][1]
    hold(q, want, found[i], now)
  end
  if #ids > 0 then
    call("LPUSH", q.active, unpack(ids))
    if meta[3] or want.max ~= "" then
      count(q, found, meta[3] and meta[4] or want.window)
    end
  end
  -- What is left behind is told of; a marker for nothing would only send somebody to look.
  q.woken = (blocked == "" or own) and call("LLEN", q.wait) + call("ZCARD", q.prioritized) > 0
  if not q.woken then
    call("ZREM", q.marker, "0")
  end
  local due = wake.next_due(q)
  local next_look = held and due and math.min(held, due) or held or due
  return { found, next_look and math.floor(next_look) or false, blocked }
end

-- Read jobs again that were taken by a call whose reply was lost; those still held are given.
function claims.reread(q, ids, token)
  local found = {}
  for i = 1, #ids do
    local key = q.base .. ids[i]
    if call("GET", key .. ":lock") == token then
      found[#found + 1] = { ids[i], call("HMGET", key, unpack(job.FIELDS)) }
    end
  end
  return found
end

return claims

-- Take jobs of a queue under a lock.
--
-- Ids are looked at before they are taken: whatever cannot be read is found out before the first
-- write, and concerns no other job.
--
-- use    clock event finished job numbers pausing place settle sound text usual wake
-- emits  waiting active
-- wire   W-33 W-50 W-51
local claims = {}

local DUE_A_CALL = 250
-- How many ids one claim looks at: those that it starts, those of names to skip, and all others,
-- such as ids without a job.
local LOOK_AHEAD = 64
local A_LOOK = 250
local LOOKS_A_CALL = 5000
local NAME, DATA, RUNS, DEFERRED, STARTED, WORKER = 1, 2, 8, 16, 20, 23

-- Make delayed jobs ready whose time has come, a bounded number a call.
function claims.promote(q, now)
  if not q.delays and not q.rearmed then
    return
  end
  local due = call("ZRANGEBYSCORE", q.delayed, "-inf", place.due_by(now), "LIMIT", 0, DUE_A_CALL)
  if #due == 0 then
    return
  end
  local found = {}
  for i = 1, #due do
    found[i] = job.read(q.base .. due[i], "name", "priority")
  end
  call("ZREM", q.delayed, unpack(due))
  for i = 1, #due do
    -- An id without a job is only taken out.
    if found[i][1] or found[i][2] then
      place.ready(q, due[i], found[i][2])
      event.emit(q, "waiting", "jobId", due[i], "prev", "delayed")
      call("HSET", q.base .. due[i], "delay", 0)
    end
  end
end

-- Return what the queue's limiter has counted; one that is no number counts nothing.
local function used(q)
  local count = numbers.count(q.counted)
  if q.counted and not count then
    call("DEL", q.limiter)
    q.counted = false
  end
  return count or 0
end

-- Say how many of `limit` jobs the rate allows, and until when it allows none.
local function within_rate(q, most, limit, now)
  local count = used(q)
  if count < BY_HAND and (not most or count < most) then
    return most and math.min(limit, most - count) or limit
  end
  local left = call("PTTL", q.limiter)
  if left > 0 then
    return 0, now + left
  end
  if left == 0 then
    call("DEL", q.limiter)
  end
  q.counted = false
  return most and math.min(limit, most) or limit
end

-- Read the limits of a queue, or those of the worker. What is no number limits nothing.
local function limits_of(q, want)
  local meta = q.limited_by
  local max, window = numbers.count(meta[3]), numbers.count(meta[4])
  local own = not (max and window)
  if own then
    max, window = tonumber(want.max), want.window
  end
  return {
    paused = meta[1], concurrency = numbers.count(meta[2]), max = max, window = window, own = own,
  }
end

-- Say how many jobs may start now, what holds others back, and until when.
local function room(q, want, rules, now)
  if rules.paused then
    local stays, until_ms = pausing.goes_on(q, now)
    if stays then
      return 0, "paused", until_ms
    end
  end
  local limit, held = within_rate(q, rules.max, tonumber(want.limit), now)
  if held then
    -- A limit that only this worker has holds back nobody else.
    return 0, "rate", held, rules.own and used(q) < BY_HAND
  end
  if rules.concurrency then
    limit = math.min(limit, rules.concurrency - call("LLEN", q.active))
    if limit <= 0 then
      return 0, "concurrency"
    end
  end
  return limit, ""
end

-- Read ids of a place in the order in which they would run, after those passed over.
local function ahead(q, role, passed, count)
  if role == "prioritized" then
    return call("ZRANGE", q.prioritized, passed, passed + count - 1)
  end
  local found, ids = call("LRANGE", q.wait, -passed - count, -passed - 1), {}
  for i = #found, 1, -1 do
    ids[#ids + 1] = found[i]
  end
  return ids
end

-- Take ids out of a place: all of its front, or, where some stay, one by one.
local function take_out(q, role, ids, stayed)
  local waits = role == "wait"
  if #ids > 0 and stayed == 0 then
    call(waits and "LTRIM" or "ZREMRANGEBYRANK", q[role], 0, waits and -#ids - 1 or #ids - 1)
    return
  end
  for i = 1, #ids do
    if waits then
      call("LREM", q.wait, -1, ids[i])
    else
      call("ZREM", q.prioritized, ids[i])
    end
  end
end

-- Look at one id: note its job if it may start, or that its id cannot be read; say whether it stays.
-- When the claim would be too large with it, the claim is full, and this id is not looked at.
local function stays(q, id, chosen)
  -- A key of another kind gives an error, which has no name either.
  local fields = attempt("HMGET", q.base .. id, unpack(job.FIELDS))
  local name = fields[NAME]
  if name and chosen.skip and chosen.skip[name] then
    return true
  elseif name and (not id:find("[\128-\255]") or text.is_utf8(id)) then
    local size = chosen.size + #(fields[DATA] or "")
    chosen.full = size > usual.BYTES_A_CLAIM and #chosen.jobs > 0
    if not chosen.full then
      chosen.size = size
      table.insert(chosen.jobs, { id, fields })
    end
  elseif name then
    table.insert(chosen.unreadable, id)
  end
  return false
end

-- Choose jobs of a place and take their ids out. Ids without a job go too, or they would stand in
-- front for ever.
local function choose(q, role, chosen)
  local out, stayed = {}, 0
  local count = chosen.skip and LOOK_AHEAD or chosen.limit - #chosen.jobs
  repeat
    local ids, at = ahead(q, role, #out + stayed, count), 1
    while at <= #ids and #chosen.jobs < chosen.limit and stayed < LOOK_AHEAD do
      local stay = stays(q, ids[at], chosen)
      if chosen.full then
        break
      elseif stay then
        stayed = stayed + 1
      else
        out[#out + 1] = ids[at]
      end
      at = at + 1
    end
    chosen.looked = chosen.looked + #ids
    local ended = at <= #ids or #ids < count or #chosen.jobs == chosen.limit
    count = A_LOOK
  until ended or chosen.looked >= LOOKS_A_CALL
  take_out(q, role, out, stayed)
end

-- Choose jobs that may start: those that wait come first, then those with a priority.
local function choose_all(q, limit, skip)
  local chosen = {
    limit = limit, skip = skip, jobs = {}, unreadable = {}, looked = 0, size = 0, full = false,
  }
  if limit > 0 then
    choose(q, "wait", chosen)
    if #chosen.jobs < limit and not chosen.full and chosen.looked < LOOKS_A_CALL then
      if call("ZCARD", q.prioritized) > 0 then
        choose(q, "prioritized", chosen)
      else
        call("DEL", q.pc)
      end
    end
  end
  return chosen
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

-- Put jobs among the active ones and lock them; those whose ids no client can read fail instead.
local function start(q, want, chosen, now)
  local ids = {}
  for i = 1, #chosen.jobs do
    ids[i] = chosen.jobs[i][1]
  end
  if #ids > 0 then
    call("LPUSH", q.active, unpack(ids))
  end
  for i = 1, #chosen.jobs do
    hold(q, want, chosen.jobs[i], now)
  end
  for i = 1, #chosen.unreadable do
    settle.unreadable(q, chosen.unreadable[i], now)
  end
  if #chosen.unreadable > 0 then
    finished.close(now)
  end
end

-- Count started jobs in the window of the rate limit, which the first of them opens.
local function count(q, found, window)
  local started = 0
  for i = 1, #found do
    started = started + (found[i][2][DEFERRED] and 0 or 1)
  end
  if started == 0 then
    return
  end
  local counted = attempt("INCRBY", q.limiter, started)
  if type(counted) == "table" then
    call("SET", q.limiter, started)
  end
  q.counted = call("GET", q.limiter)
  if type(counted) == "table" or counted == started then
    call("PEXPIRE", q.limiter, window)
  end
end

-- Take up to so many jobs; give them, the time of the next look (or nil), and what holds back.
-- Nothing is taken from a damaged queue: an id that left one key might not arrive in the next.
function claims.take(want, skip, now)
  local q = want.queue
  if sound.fault(q) then
    return { {}, false, "damaged" }
  end
  claims.promote(q, now)
  local rules = limits_of(q, want)
  local limit, blocked, held, own = room(q, want, rules, now)
  local chosen = choose_all(q, limit, skip)
  start(q, want, chosen, now)
  if rules.max and #chosen.jobs > 0 then
    count(q, chosen.jobs, rules.window)
  end
  -- What is left behind is told of; a marker for nothing would only send somebody to look.
  q.woken = (blocked == "" or own) and call("LLEN", q.wait) + call("ZCARD", q.prioritized) > 0
  if not q.woken then
    call("ZREM", q.marker, "0")
  end
  local due = numbers.count(wake.next_due(q))
  local next_look = held and due and math.min(held, due) or held or due
  return { chosen.jobs, next_look and math.floor(next_look) or false, blocked }
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

-- Carry out one decision on an active job.
--
-- use    alone clock dedup event family finished job keep letters place sound tally tries
-- emits  completed failed retries-exhausted delayed waiting stalled waiting-children
-- wire   W-100 W-101 W-102 W-103 W-134 W-150
local settle = {}

local FIELDS = {
  "name", "atm", "ats", "parentKey", "parent", "deid", "priority", "toril:letter", "defa",
}
local NAME, MADE, RUN, PARENT, LINK, DEDUP, PRIORITY, LETTER, DEFERRED = 1, 2, 3, 4, 5, 6, 7, 8, 9
local WISHES_MS = 604800000
local UNREADABLE = "its id is not valid UTF-8, so no worker can run it"

-- Note that somebody wants an active job to end: whatever becomes of its try, it does not run again.
function settle.ask(q, id, reason)
  local why = reason:sub(#"cancelled: " + 1)
  call("HSET", q.base .. id, "toril:cancel", why, "defa", reason)
  call("HSET", q.wishes, id, why)
  call("PEXPIRE", q.wishes, WISHES_MS)
end

-- Say whether somebody wants a job to end, by its fields.
local function is_asked(fields)
  return fields[DEFERRED] and fields[DEFERRED]:find("^cancelled")
end

-- Give the decision to end a job that was to run again, or failed, while somebody wanted it to end.
local function as_cancelled(d, fields)
  local reason, try = fields[DEFERRED], cjson.decode(d.tried)
  try[3], try[4] = "cancelled", reason
  return setmetatable({
    action = "fail", reason = reason, tried = cjson.encode(try), exhausted = "0", fault = "",
  }, { __index = d })
end

-- Say where the job went when this decision was carried out before; "lost" when it never was.
local function before(d, fields)
  local q = d.queue
  if d.run == "" or fields[RUN] ~= d.run then
    return "lost"
  end
  local made = tonumber(fields[MADE]) or 0
  local counted = made == tonumber(d.made) + (d.counted == "1" and 1 or 0)
  if d.action == "complete" and call("ZSCORE", q.completed, d.id) then
    return "completed"
  elseif d.action == "fail" and call("ZSCORE", q.failed, d.id) then
    return "failed"
  elseif d.action ~= "complete" and call("ZSCORE", q.failed, d.id)
    and call("HEXISTS", q.base .. d.id, "toril:cancel") == 1 then
    return "failed"
  elseif d.action == "await-children" then
    return call("ZSCORE", q.waiting_children, d.id) and "waiting-children" or "lost"
  elseif not counted or d.action == "complete" or d.action == "fail" then
    return "lost"
  elseif call("ZSCORE", q.delayed, d.id) then
    return d.action ~= "release" and "delayed" or "lost"
  elseif d.stalls ~= (call("HGET", q.base .. d.id, "stc") or "0") then
    return "lost"
  end
  return call("ZSCORE", q.prioritized, d.id) and "prioritized"
    or call("LPOS", q.wait, d.id) and "waiting" or "lost"
end

-- Count the end of a try, with how long it ran and its job had waited.
local function count(d, fields, what, now)
  local started = tonumber(d.started)
  tally.add(d.queue, fields[NAME], what, started and now - started, tonumber(d.wait))
end

-- Note in which place of its worker an attempt ran, and why it failed.
local function note(d, fields)
  if d.slot and d.slot ~= "" then
    call("HSET", d.queue.base .. d.id, "toril:slot", d.slot)
  end
  if d.fault and d.fault ~= "" then
    call("HSET", d.queue.base .. d.id, "toril:fault", d.fingerprint)
    tally.blame(d.queue, d.id, fields[NAME], d.fault)
  end
end

local function complete(d, fields, now)
  local q, key = d.queue, d.queue.base .. d.id
  if fields[DEDUP] then
    alone.beside(dedup.finish, q, fields[DEDUP], d.id, now)
  end
  if fields[PARENT] then
    alone.beside(family.complete, fields[PARENT], key, d.result, now)
  end
  if fields[DEFERRED] then
    call("HDEL", key, "defa", "toril:cancel")
  end
  if finished.add(q, "completed", d.id, d.keep) then
    call("HSET", key, "atm", (tonumber(fields[MADE]) or 0) + 1, "returnvalue", d.result,
      "finishedOn", clock.text)
    note(d, fields)
  else
    alone.beside(family.outlive, fields[PARENT], key)
    job.forget(q, { d.id })
  end
  event.emit(q, "completed", "jobId", d.id, "returnvalue", d.result, "prev", "active")
  if fields[LETTER] then
    alone.beside(letters.withdraw, q, d.id, fields[LETTER])
    call("HDEL", key, "toril:letter")
  end
  count(d, fields, "c", now)
  return "completed"
end

local function fail(d, fields, now)
  local q, key = d.queue, d.queue.base .. d.id
  local made = (tonumber(fields[MADE]) or 0) + (d.counted == "1" and 1 or 0)
  call("HDEL", key, "defa")
  if fields[DEDUP] then
    alone.beside(dedup.finish, q, fields[DEDUP], d.id, now)
  end
  if fields[PARENT] then
    alone.beside(family.fail, fields[PARENT], fields[LINK], key, d.reason, now)
  end
  call("HSET", key, "atm", made, "failedReason", d.reason, "finishedOn", now)
  local kept = finished.add(q, "failed", d.id, d.keep)
  event.emit(q, "failed", "jobId", d.id, "failedReason", d.reason, "prev", d.prev or "active")
  if d.exhausted == "1" then
    event.emit(q, "retries-exhausted", "jobId", d.id, "attemptsMade", made)
  end
  if keep.letters(q) then
    alone.beside(letters.withdraw, q, d.id, fields[LETTER])
    alone.beside(letters.send, d, fields[NAME], now)
  end
  if not kept then
    alone.beside(family.part, fields[PARENT], key, now)
    alone.beside(family.outlive, fields[PARENT], key)
    job.forget(q, { d.id })
  end
  count(d, fields, "f", now)
  return "failed"
end

-- Fail a job that waits, and stands nowhere any more.
local function end_waiting(row, prev, now)
  local q, key = row.queue, row.queue.base .. row.id
  local fields = call("HMGET", key, unpack(FIELDS))
  local own = keep.own(call("HGET", key, "opts"), "failed")
  fail({
    queue = q, id = row.id, reason = row.reason, keep = own, prev = prev, counted = "0",
    exhausted = "0", text = "",
  }, fields, now)
end

-- Fail a job whose id no client can read, and that stands nowhere any more.
function settle.unreadable(q, id, now)
  end_waiting({ queue = q, id = id, reason = UNREADABLE }, "waiting", now)
end

-- Fail a job that waits because somebody wants it to end.
function settle.cancel(wish, prev, now)
  local key = wish.queue.base .. wish.id
  call("HSET", key, "toril:cancel", wish.reason:sub(#"cancelled: " + 1))
  end_waiting(wish, prev, now)
end

-- Fail a job that waits because its time is over. To tell of it that counts as a start. Somebody's
-- wish to end it comes first, and of that the job itself tells.
function settle.expire(over, prev, now)
  local key = over.queue.base .. over.id
  local wish = call("HMGET", key, "toril:cancel", "defa")
  if wish[1] and wish[2] then
    end_waiting({ queue = over.queue, id = over.id, reason = wish[2] }, prev, now)
    return
  end
  tries.add(key, call("HINCRBY", key, "ats", 1), now, over.tried)
  end_waiting(over, prev, now)
end

-- Let a job wait again: at its end of the queue, in front, or until a time.
local function put_back(d, fields, now)
  local q, key = d.queue, d.queue.base .. d.id
  if d.counted == "1" then
    call("HSET", key, "atm", (tonumber(fields[MADE]) or 0) + 1)
  end
  if d.reason ~= "" then
    call("HSET", key, "failedReason", d.reason)
  end
  if d.action == "retry" then
    count(d, fields, "r", now)
  elseif d.crash == "1" then
    count(d, fields, "s", now)
  end
  if d.unknown == "1" then
    call("HINCRBY", key, "toril:unknown", 1)
  end
  local delay = tonumber(d.delay)
  if delay > 0 then
    call("HSET", key, "delay", delay)
    place.delay(q, d.id, now + delay)
    event.emit(q, "delayed", "jobId", d.id, "delay", now + delay)
    return "delayed"
  end
  local word = place.ready(q, d.id, fields[PRIORITY], d.front == "1")
  event.emit(q, "waiting", "jobId", d.id, "prev", "active")
  if d.crash == "1" then
    event.emit(q, "stalled", "jobId", d.id)
  end
  return word
end

-- Say why a decision cannot be carried out, if so. Whoever holds the lock decides; when its time
-- is over and nobody took the job, that is still the one who ran it last.
local function refusal(d, fields, lock)
  if not fields[NAME] then
    return "gone"
  elseif lock ~= d.token and (lock or fields[RUN] ~= d.run) then
    return lock and "held" or before(d, fields)
  end
  if d.family and (d.action == "complete" or d.action == "await-children") then
    local key = d.queue.base .. d.id
    if call("EXISTS", key .. ":unsuccessful") == 1 then
      return "failed-children"
    end
    local pending = call("EXISTS", key .. ":dependencies") == 1
    if pending and d.action == "complete" and not family.continues(key) then
      return "pending"
    elseif not pending and d.action == "await-children" and not is_asked(fields) then
      return "active"
    end
  end
end

local function carry_out(d, fields, now)
  local q, key = d.queue, d.queue.base .. d.id
  if d.pause ~= "0" then
    q.counted = string.format("%.0f", BY_HAND)
    call("SET", q.limiter, q.counted, "PX", d.pause)
  end
  if is_asked(fields) then
    call("HDEL", q.wishes, d.id)
    d = d.action == "complete" and d or as_cancelled(d, fields)
  end
  if d.action == "complete" then
    return complete(d, fields, now)
  end
  if d.stack ~= "" then
    call("HSET", key, "stacktrace", d.stack)
  end
  if d.action == "await-children" then
    call("ZADD", q.waiting_children, now, d.id)
    event.emit(q, "waiting-children", "jobId", d.id, "prev", "active")
    return "waiting-children"
  end
  if d.crash == "1" then
    call("HSET", key, "stc", d.stalls)
  end
  tries.add(key, tonumber(fields[RUN]) or 0, now, d.tried)
  note(d, fields)
  return d.action == "fail" and fail(d, fields, now) or put_back(d, fields, now)
end

-- Carry out a decision, unless it is refused; give the word for what came of it.
function settle.one(d, lock, now)
  local q, key = d.queue, d.queue.base .. d.id
  local mark = d.token .. "/" .. d.action
  q.settled = q.settled or { locks = {}, ids = {}, marks = {}, words = {} }
  if q.settled.marks[d.id] then
    return q.settled.marks[d.id] == mark and q.settled.words[d.id] or "lost"
  end
  if sound.fault(q) then
    return "fault " .. sound.fault(q)
  end
  -- A key of another kind gives an error, which has no name either.
  local fields = attempt("HMGET", key, unpack(FIELDS))
  local word = refusal(d, fields, lock)
  if not word and call("LREM", q.active, -1, d.id) == 0 then
    word = before(d, fields)
  end
  if word then
    return word
  end
  local before_it = finished.so_far(q)
  word = alone.run(carry_out, d, fields, now)
  if word:find("^fault ") then
    -- It is still held, and decided again.
    finished.back(q, before_it)
    call("RPUSH", q.active, d.id)
    return word
  end
  table.insert(q.settled.locks, key .. ":lock")
  table.insert(q.settled.ids, d.id)
  q.settled.marks[d.id] = mark
  q.settled.words[d.id] = word
  return word
end

return settle

-- The short way of a finish: jobs of one queue complete, and as many others of it start.
--
-- It returns nil where anything is unusual, and has changed nothing then: the script goes on with
-- the general way, which knows all cases and says what is wrong. So it reads first, and each read
-- also shows that its key holds the right kind of value. No read that can fail follows a write.
--
-- What a script makes anew in each call costs as much as its commands: so here are few functions and
-- tables, and where the text of a number is at hand, that is passed on.
--
-- use    clock once tally usual
-- emits  completed active drained
-- wire   W-31 W-33 W-41 W-50 W-100 W-101 W-104 W-106 W-150
local MOST = 9007199254740992
local DUE = 4096
local MINUTE = 60000
local A_CALL = 250

local base, want, done = queue[1].base, each.request[1], each.done
-- What was read: the time, how many stalled jobs there may be, how many events stay, when the next
-- delayed job is due, whether jobs are left; and of jobs: their tries made and names, which go, which
-- start.
local seen = { now = 0, stalled = 0, events = "", due = false, more = false, made = {}, name = {},
  gone = {}, starting = {} }

-- Return whether nothing of the call, its locks and its queue is unusual: it is a new one, nobody
-- has children, no limit of the queue or of a job is counted, and no delayed job is due.
local function read_queue()
  if #queue ~= 1 or #each.request ~= 1 or #each.skip + #each.decision > 0 or want.max ~= "" then
    return false
  end
  local held, beside = { once.record() }, { base .. "toril:limits", base .. "limiter", base .. "stalled" }
  for i = 1, #done do
    local key = base .. done[i].id
    held[i + 1] = key .. ":lock"
    beside[2 * i + 2], beside[2 * i + 3] = key .. ":dependencies", key .. ":unsuccessful"
  end
  held = call("MGET", unpack(held))
  for i = 1, #done do
    if held[i + 1] ~= done[i].token or done[i].keep ~= done[1].keep then
      return false
    end
  end
  local found = call("EXISTS", unpack(beside))
  seen.stalled = found > 0 and call("EXISTS", beside[3]) or 0
  if found ~= seen.stalled or once.before(held[1]) then
    return false
  end
  local meta = call("HMGET", base .. "meta", "opts.maxLenEvents", "paused", "concurrency", "max",
    "duration")
  local events = tonumber(meta[1])
  if meta[2] or meta[3] or meta[4] or meta[5] or not (events and events < MOST) then
    return false
  end
  seen.events = events < usual.LEAST_EVENTS and usual.LEAST_EVENTS or meta[1]
  local score = tonumber(call("ZRANGE", base .. "delayed", "0", "0", "WITHSCORES")[2])
  seen.due = score and score / DUE < MOST and math.floor(score / DUE) or false
  return not score or score >= (seen.now + 1) * DUE
end

-- Return whether the jobs that end have nothing that others must hear of.
local function read_done()
  for i = 1, #done do
    local found = call("HMGET", base .. done[i].id, "name", "atm", "parentKey", "deid", "defa",
      "toril:letter")
    if not found[1] or found[3] or found[4] or found[5] or found[6] then
      return false
    end
    seen.name[i] = found[1]
    seen.made[i] = found[2] and (tonumber(found[2]) or 0) + 1 or "1"
  end
  local counted = call("HMGET", base .. "metrics:completed", "count", "prevTS")
  local last = tonumber(counted[2])
  return last and math.floor(seen.now / MINUTE) <= math.floor(last / MINUTE)
    and counted[1] and counted[1]:find("^%d+$") and #counted[1] < 16
end

-- Find the completed jobs that go now; return whether they can just be deleted.
local function read_gone()
  local rule, key, gone = done[1].keep, base .. "completed", seen.gone
  if rule == "" then
    local kept = call("HMGET", base .. "toril:settings", "keep_completed", "bounded")
    rule = kept[1] or kept[2] and usual.KEEP_COMPLETED or ":"
  end
  local count, age = rule:match("^(%d*):(%d*)$")
  count, age = tonumber(count), tonumber(age)
  local there = call("ZCARD", key)
  local oldest = age and there > 0 and call("ZRANGE", key, "0", "0", "WITHSCORES")[2]
  if oldest and tonumber(oldest) <= seen.now - age then
    gone = call("ZRANGEBYSCORE", key, "-inf", seen.now - age, "LIMIT", 0, A_CALL)
  end
  local over = count and there + #done - #gone - count or 0
  if count == 0 or over > 0 and #gone + over > math.min(there, A_CALL) then
    return false
  elseif over > 0 then
    gone = call("ZRANGE", key, "0", #gone + over - 1)
  end
  for i = 1, #gone do
    -- An id may be the name of another key, which has no job's name.
    local found = call("HMGET", base .. gone[i], "name", "opts", "toril:index")
    local has_rule = (found[2] or ""):find("removeOnComplete", 1, true)
    if not found[1] or found[3] or gone[i]:find(":", 1, true) or done[1].keep == "" and has_rule then
      return false
    end
  end
  seen.gone = gone
  return true
end

-- Return whether the jobs that start stand in `wait`, and can be read.
local function read_starting()
  local limit = tonumber(want.limit)
  local ids = call("LRANGE", base .. "wait", limit == 1 and "-2" or -limit - 1, "-1")
  seen.more = #ids > limit
  if limit <= 0 or not seen.more and call("ZCARD", base .. "prioritized") > 0 then
    return false
  end
  local size = 0
  for i = #ids, seen.more and 2 or 1, -1 do
    local fields = call("HMGET", base .. ids[i], unpack(usual.FIELDS))
    if not fields[usual.NAME] or ids[i]:find("[\128-\255]") then
      return false
    end
    size = size + #(fields[usual.DATA] or "")
    if size > usual.BYTES_A_CLAIM and #seen.starting > 0 then
      return false
    end
    seen.starting[#seen.starting + 1] = { ids[i], fields }
  end
  return #done > 0 or call("LLEN", base .. "active") ~= nil
end

local function look()
  seen.now = clock.now(arg.now)
  return read_queue() and (#done == 0 or read_done() and read_gone()) and read_starting()
end

-- Append an event; the first one cuts the stream too. Return whether it takes events.
local function tell(kind, id, ...)
  local told
  if seen.events then
    told = attempt("XADD", base .. "events", "MAXLEN", "~", seen.events, clock.id(), "event", kind,
      "jobId", id, ...)
    seen.events = nil
  else
    told = attempt("XADD", base .. "events", clock.id(), "event", kind, "jobId", id, ...)
  end
  return type(told) == "string"
end

-- Make the writes that may fail. Where one does, undo what was done and return false.
local function begin()
  local first = seen.starting[1]
  if #done == 0 then
    return not first or tell("active", first[1], "prev", "waiting")
  end
  local out = 0
  while out < #done and attempt("LREM", base .. "active", "-1", done[out + 1].id) == 1 do
    out = out + 1
  end
  if out == #done and tell("completed", done[1].id, "returnvalue", done[1].result, "prev", "active") then
    return true
  end
  for i = 1, out do
    call("RPUSH", base .. "active", done[i].id)
  end
  return false
end

-- Store the jobs that end, and delete their locks, and the jobs that go; return the ids.
local function complete()
  local scores, ids, keys = {}, {}, { #seen.starting < tonumber(want.limit) and base .. "pc" or nil }
  for i = 1, #done do
    local d = done[i]
    ids[i], scores[2 * i - 1], scores[2 * i] = d.id, clock.text, d.id
    keys[#keys + 1] = base .. d.id .. ":lock"
    if d.slot ~= "" then
      call("HSET", base .. d.id, "atm", seen.made[i], "returnvalue", d.result, "finishedOn",
        clock.text, "toril:slot", d.slot)
    else
      call("HSET", base .. d.id, "atm", seen.made[i], "returnvalue", d.result, "finishedOn",
        clock.text)
    end
    if i > 1 then
      tell("completed", d.id, "returnvalue", d.result, "prev", "active")
    end
  end
  for i = 1, #seen.gone do
    for j = 1, #usual.BESIDE do
      keys[#keys + 1] = base .. seen.gone[i] .. usual.BESIDE[j]
    end
  end
  if #seen.gone > 0 then
    call("ZREMRANGEBYRANK", base .. "completed", "0", #seen.gone - 1)
  end
  if #done > 0 then
    call("ZADD", base .. "completed", unpack(scores))
    call("HINCRBY", base .. "metrics:completed", "count", #done == 1 and "1" or #done)
  end
  if #keys > 0 then
    call("DEL", unpack(keys))
  end
  return ids
end

-- Move the jobs that start from `wait` to `active`, and lock them; return their ids.
local function start()
  local ids = {}
  for i = 1, #seen.starting do
    ids[i] = seen.starting[i][1]
  end
  if #ids == 1 and #done > 0 then
    call("RPOPLPUSH", base .. "wait", base .. "active")
  elseif #ids > 0 then
    -- A server that is full lets a script go on that began by taking away.
    call("LTRIM", base .. "wait", "0", -#ids - 1)
    call("LPUSH", base .. "active", unpack(ids))
  end
  for i = 1, #ids do
    local key, fields = base .. ids[i], seen.starting[i][2]
    local runs = fields[usual.RUNS] and tostring((tonumber(fields[usual.RUNS]) or 0) + 1) or "1"
    fields[usual.RUNS], fields[usual.STARTED] = runs, seen.now
    call("SET", key .. ":lock", want.token, "PX", want.lock)
    if want.worker ~= "" then
      fields[usual.WORKER] = want.worker
      call("HSET", key, "processedOn", clock.text, "ats", runs, "pb", want.worker)
    else
      call("HSET", key, "processedOn", clock.text, "ats", runs)
    end
    if i > 1 or #done > 0 then
      tell("active", ids[i], "prev", "waiting")
    end
  end
  return ids
end

local fine, is_usual = pcall(look)
if not (fine and is_usual and begin()) then
  return nil
end
local ended, started, words, faults = complete(), start(), {}, {}
for i = 1, #ended do
  words[i] = "completed"
end
if #done > 0 then
  local sample = {}
  for i = 1, #done do
    local started = tonumber(done[i].started)
    tally.count(sample, seen.name[i], "c", started and seen.now - started, tonumber(done[i].wait))
  end
  tally.keep(base, sample)
end
local out = seen.stalled > 0 and #ended > 0 and attempt("SREM", base .. "stalled", unpack(ended))
if type(out) == "table" then
  faults[1] = out.err
end
-- Say whether jobs are left, and whether the queue ran dry with this call.
if seen.more then
  attempt("ZADD", base .. "marker", "0", "0")
else
  attempt("ZREM", base .. "marker", "0")
end
if #ended > 0 and #started == 0 and not seen.due and call("LLEN", base .. "active") == 0 then
  attempt("XADD", base .. "events", clock.id(), "event", "drained")
end
once.keep(seen.now, #done, seen.due, unpack(started))
return { seen.now, words, { { seen.starting, seen.due, "" } }, faults }

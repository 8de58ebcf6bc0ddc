-- How long finished jobs stay: the job's own rule, else the queue's, else the default of queues
-- that toril made; other queues keep all.
--
-- use    alone family job usual
-- wire   W-104 W-105
local keep = {}

local A_CALL = 250
local DEFAULTS = { completed = usual.KEEP_COMPLETED, failed = "10000:2592000000" }
local OPTIONS = { completed = "removeOnComplete", failed = "removeOnFail" }

-- Read the queue's rules, once a call.
local function of_queue(q)
  if not q.rules then
    local own = call("HMGET", q.settings, "keep_completed", "keep_failed", "bounded", "dead_letter")
    q.rules = {
      completed = own[1] or own[3] and DEFAULTS.completed or ":",
      failed = own[2] or own[3] and DEFAULTS.failed or ":",
      dead_letter = own[4],
    }
  end
  return q.rules
end

-- Give the rule of a job that ends in `state`: how many stay, and for how many ms; nil: no bound.
function keep.rule(q, state, own)
  local text = own ~= "" and own or of_queue(q)[state]
  local count, age = text:match("^(%d*):(%d*)$")
  return tonumber(count), tonumber(age), text
end

-- Read the rule that a job's own stored options have for its end in `state`; "": none.
function keep.own(opts, state)
  local fine, options = pcall(cjson.decode, opts or "{}")
  local rule = fine and type(options) == "table" and options[OPTIONS[state]]
  if rule == nil or rule == cjson.null or not fine then
    return ""
  elseif type(rule) ~= "table" then
    rule = { count = rule == true and 0 or tonumber(rule) }
  end
  local count, age = tonumber(rule.count), tonumber(rule.age)
  return (count and count >= 0 and string.format("%.0f", count) or "") .. ":"
    .. (age and string.format("%.0f", age * 1000) or "")
end

-- Give the queue that final failures of this one go to, or nil.
function keep.letters(q)
  return of_queue(q).dead_letter
end

-- Leave out jobs that have a rule of their own, which the queue's does not touch.
local function without_own(q, state, ids)
  local found = {}
  for i = 1, #ids do
    local opts = job.read(q.base .. ids[i], "opts")[1]
    if not (opts and opts:find(OPTIONS[state], 1, true)) then
      found[#found + 1] = ids[i]
    end
  end
  return found
end

-- Let these jobs go. A failed one may still hold its parent back.
local function let_go(q, state, ids, own, now)
  ids = own == "" and without_own(q, state, ids) or ids
  if #ids == 0 then
    return 0
  end
  call("ZREM", q[state], unpack(ids))
  for i = 1, state == "failed" and #ids or 0 do
    local key = q.base .. ids[i]
    alone.beside(family.part, job.read(key, "parentKey")[1], key, now)
  end
  job.forget(q, ids)
  return #ids
end

-- Let go what a rule no longer covers, the oldest first, a bounded number; give how many went.
-- `own` is the rule's text when a job brought it, and empty when it is the queue's.
function keep.apply(q, state, own, now)
  local count, age = keep.rule(q, state, own)
  local gone = 0
  if age then
    local old = call("ZRANGEBYSCORE", q[state], "-inf", now - age, "LIMIT", 0, A_CALL)
    gone = let_go(q, state, old, own, now)
  end
  local over = count and call("ZCARD", q[state]) - count or 0
  if over > 0 then
    local oldest = call("ZRANGE", q[state], 0, math.min(over, A_CALL) - 1)
    gone = gone + let_go(q, state, oldest, own, now)
  end
  return gone
end

-- Let go the oldest jobs whose own age is over, in a queue where nothing else ends.
function keep.outlived(q, state, now)
  local found, old = call("ZRANGE", q[state], 0, A_CALL - 1, "WITHSCORES"), {}
  for i = 1, #found, 2 do
    local opts = job.read(q.base .. found[i], "opts")[1]
    local read, options = pcall(cjson.decode, opts or "{}")
    local rule = read and type(options) == "table" and options[OPTIONS[state]]
    local age = type(rule) == "table" and tonumber(rule.age)
    if age and tonumber(found[i + 1]) <= now - age * 1000 then
      old[#old + 1] = found[i]
    end
  end
  return let_go(q, state, old, "own", now)
end

return keep

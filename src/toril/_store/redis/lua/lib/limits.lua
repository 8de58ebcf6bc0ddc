-- When jobs that wait are over although nobody claims them: a set of their ids, by that time.
--
-- It may name jobs that have ended since, or have gone, for BullMQ does not know it: whoever comes
-- to a time looks at the job.
--
-- use    numbers text
-- wire   W-56
local limits = {}

local A_CALL = 250
local FIELDS = { "opts", "timestamp", "ats", "toril:unknown", "rjk" }

-- Give the shorter of the times that stored options allow a job, in ms, or nil.
local function shortest(opts)
  local fine, options = pcall(cjson.decode, opts)
  local own = fine and type(options) == "table" and options.toril
  if type(own) == "table" then
    local deadline, expires = numbers.finite(own.deadline), numbers.finite(own.expires)
    return deadline and expires and math.min(deadline, expires) or deadline or expires
  end
end

-- Note when a job that waits is over, if its stored options bound that.
function limits.note(q, id, opts, created)
  if opts and opts:find('"toril"', 1, true) then
    local first, added = shortest(opts), numbers.finite(created)
    if first and added then
      q.limited = true
      call("ZADD", q.limits, added + first, id)
    end
  end
end

-- Forget jobs that have ended or have gone.
function limits.forget(q, ids)
  if q.limited == nil then
    q.limited = call("EXISTS", q.limits) == 1
  end
  if q.limited and #ids > 0 then
    -- A key of another kind limits nothing.
    attempt("ZREM", q.limits, unpack(ids))
  end
end

-- List jobs whose time may be over: for each its queue's place, its id, and what tells.
function limits.overdue(q, place, now, found)
  local ids = call("ZRANGEBYSCORE", q.limits, "-inf", now, "LIMIT", 0, A_CALL - #found)
  for i = 1, #ids do
    local fields = attempt("HMGET", q.base .. ids[i], unpack(FIELDS))
    if fields.err or not text.is_utf8(ids[i]) then
      -- It is no job, or none that a client can name.
      call("ZREM", q.limits, ids[i])
    else
      found[#found + 1] = { place, ids[i], unpack(fields) }
    end
  end
end

return limits

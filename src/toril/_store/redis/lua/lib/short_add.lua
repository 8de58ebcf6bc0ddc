-- The short way of an add: jobs of one queue that have nothing special but a delay.
--
-- It returns nil where anything is unusual, and has stored nothing then: the script goes on with the
-- general way, which knows all cases and says what is wrong.
--
-- use    clock once plain tally usual
-- wire   W-31 W-41 W-135 W-150
local MOST = 9007199254740992
local DUE = 4096

local base, step = queue[1].base, each.step[1]
local events

-- Return whether nothing of the call and its queue is unusual.
local function look()
  if #queue ~= 1 or #each.step ~= 1 or step.kind ~= "plain" then
    return false
  end
  if once.before(call("GET", once.record())) then
    return false
  end
  local meta = call("HMGET", base .. "meta", "opts.maxLenEvents", "paused", "concurrency")
  events = tonumber(meta[1])
  if meta[2] or meta[3] or not (events and events < MOST) then
    return false
  end
  events = events < usual.LEAST_EVENTS and usual.LEAST_EVENTS or meta[1]
  return not call("HGET", base .. "toril:settings", "max_waiting")
end

local fine, is_usual = pcall(look)
if not (fine and is_usual) then
  return nil
end
local some_ready = false
for i = 1, #each.plain do
  some_ready = some_ready or each.plain[i].delay == "0"
end
-- Before anything else is written, this shows that the marker can be written.
local marked = some_ready and attempt("ZADD", base .. "marker", "0", "0")
  or attempt("ZCARD", base .. "marker")
if type(marked) == "table" then
  return nil
end
local stored, first, _, late = pcall(plain.store, base, each.plain, 1, tonumber(step.count),
  clock.now(arg.now), events)
if not stored then
  if some_ready and marked == 1 then
    call("ZREM", base .. "marker", "0")
  end
  return nil
end
if late > 0 then
  local due = tonumber(call("ZRANGE", base .. "delayed", "0", "0", "WITHSCORES")[2])
  attempt("ZADD", base .. "marker", due / DUE, "1")
end
local sample = {}
for i = 1, #each.plain do
  tally.count(sample, each.plain[i].name, "e")
end
tally.keep(base, sample)
local reply = { {}, { first } }
once.keep(reply)
return reply

-- The jobs that a call is to act on: those of these ids, or those that a look into one role finds.
--
-- Scripts that use this have the args `role before limit passed` and the rows `job: id`. Their
-- reply is: ids that were acted on; refusals (id, word, base and id of who is to blame); how many
-- rows were dealt with, or ids of the role passed over; whether the role has no more.
--
-- use    clock event job once schedule wake where
-- wire   W-110
local choice = {}

local A_CALL = 250
local LOOKS_A_CALL = 200000

-- How many jobs this call has acted on; a script that takes more than one at a time adds to it.
choice.spent = 0

local function given()
  local ids = {}
  for i = 1, #each.job do
    ids[i] = each.job[i].id
  end
  return ids
end

-- Say whether a job that a look has found is old enough, and no run that a schedule waits for.
local function fits(q, id, before)
  if schedule.owns(q, id) then
    return false
  end
  if not before or arg.role == "completed" or arg.role == "failed" then
    return true
  end
  local added = tonumber(job.read(q.base .. id, "timestamp")[1] or 0)
  return not added or added <= before
end

local function is_full()
  return choice.spent >= A_CALL or where.looked >= LOOKS_A_CALL
end

-- Act on the chosen ones, a bounded number.
local function work(act, now)
  local q, looks, before = queue[1], arg.role ~= "", tonumber(arg.before)
  local passed, limit = tonumber(arg.passed), tonumber(arg.limit)
  local found = looks and where.page(q, arg.role, before, passed, A_CALL) or given()
  local done, refused, at = {}, {}, 1
  while at <= #found and #done < limit and not is_full() do
    local id = found[at]
    if looks and not fits(q, id, before) then
      passed = passed + 1
    else
      local word, of, who = act(q, id, looks and passed or nil, now)
      if not word then
        done[#done + 1] = id
        choice.spent = choice.spent + 1
      elseif not looks then
        refused[#refused + 1] = { id, word, of and of.base or q.base, who or id }
      elseif word ~= "missing" then
        passed = passed + 1
      end
    end
    at = at + 1
  end
  local ended = at > #found and #found < A_CALL
  return { done, refused, looks and passed or at - 1, ended and 1 or 0 }
end

-- Make the call: `act` gives nil, or a word and who is to blame. It is told how many ids of the role
-- stand before each, if that is from a look, and the time. `tell` may say something of the reply.
function choice.run(act, tell)
  return once.run(function()
    local now = clock.now(arg.now)
    where.check(queue[1])
    local reply = work(act, now)
    if tell then
      tell(reply)
    end
    wake.all()
    event.close()
    return reply
  end)
end

return choice

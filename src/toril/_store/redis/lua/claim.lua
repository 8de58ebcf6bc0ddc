-- Take jobs under a lock, an answer for each request; delayed jobs that are due come first.
--
-- keys   queue...
-- args   caller number now prefix
-- each   request: queue limit token lock worker max window
-- each   skip: request name
-- use    claiming clock event once wake
-- emits  waiting active failed
-- makes  the queues of parents and of dead letters
-- wire   W-33 W-50 W-51
-- reply  now, and for each request: jobs, time of the next look, what holds jobs back
local function main()
  local now = clock.now(arg.now)
  local answers, kept = claiming.all(now)
  wake.all()
  event.trim()
  return { now, answers }, { now, kept }
end

local function again(kept)
  return { kept[1], claiming.again(kept[2]) }
end

return once.run(main, again)

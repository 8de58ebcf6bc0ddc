-- The record of starts that did not complete a job: fields of its hash, the newest hundred.
--
-- wire   W-26
local tries = {}

local KEPT = 100

-- Note how a start ended; `tail` is JSON that was written elsewhere.
function tries.add(key, run, now, tail)
  call("HSET", key, "toril:try:" .. run, string.format("%.0f %s", now, tail))
  if run > KEPT then
    call("HDEL", key, "toril:try:" .. run - KEPT)
  end
end

return tries

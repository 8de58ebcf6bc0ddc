-- Name the jobs of a group of errors, the newest first; samples are added up before.
--
-- keys   queue
-- args   fingerprint offset count
-- use    faults fold
-- wire   W-154
-- reply  ids
local base = queue[1].base
if call("LLEN", base .. "toril:samples") > 0 then
  fold.samples(base)
end
return call("ZREVRANGE", base .. "toril:error:" .. arg.fingerprint, arg.offset,
  arg.offset + arg.count - 1)

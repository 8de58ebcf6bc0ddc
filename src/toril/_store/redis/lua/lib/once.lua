-- A call that is sent again, because its reply did not come, answers as it did and does no more.
--
-- wire   W-60
local once = {}

local KEEP_MS = "120000"
-- A function with `...` has an `arg` of its own.
local NUMBER = arg.number

-- Return the key of the note that a caller's last call left.
function once.record()
  return queue[1].base .. "toril:call:" .. arg.caller
end

-- Return what this call left in a note, as it was packed; nil: the note is of another call.
function once.before(note)
  if note and note:find(NUMBER .. " ", 1, true) == 1 then
    return note:sub(#NUMBER + 2)
  end
end

-- Leave a note of what this call gave. Where there is no room left, what was done stands, and only
-- this note is missing.
function once.keep(...)
  attempt("SET", once.record(), NUMBER .. " " .. cmsgpack.pack(...), "PX", KEEP_MS)
end

-- Run a call, or give what it gave before. `main` gives the reply and what is to be kept of it;
-- `again`, if there is one, makes the reply from what was kept.
function once.run(main, again)
  local before = once.before(call("GET", once.record()))
  if before and again then
    return again(cmsgpack.unpack(before))
  elseif before then
    return (cmsgpack.unpack(before))
  end
  local reply, kept = main()
  once.keep(kept or reply)
  return reply
end

return once

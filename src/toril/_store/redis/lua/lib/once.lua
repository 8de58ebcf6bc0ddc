-- A call that is sent again, because its reply did not come, answers as it did and does no more.
--
-- wire   W-60
local once = {}

local KEEP_MS = 120000

-- Run a call, or give what it gave before. `main` gives the reply and what is to be kept of it;
-- `again`, if there is one, makes the reply from what was kept.
function once.run(main, again)
  local record = queue[1].base .. "toril:call:" .. arg.caller
  local before = call("GET", record)
  if before then
    local number, kept = before:match("^(%d+) (.*)$")
    if number == arg.number then
      kept = cmsgpack.unpack(kept)
      return again and again(kept) or kept
    end
  end
  local reply, kept = main()
  -- Where there is no room left, what was done stands, and only this note is missing.
  attempt("SET", record, arg.number .. " " .. cmsgpack.pack(kept or reply), "PX", KEEP_MS)
  return reply
end

return once

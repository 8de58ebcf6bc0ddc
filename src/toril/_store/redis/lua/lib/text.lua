-- Texts as clients read them.
local text = {}

-- Every character of UTF-8 that takes more than one byte.
local WIDE = {
  "[\194-\223][\128-\191]", "\224[\160-\191][\128-\191]", "[\225-\236\238\239][\128-\191][\128-\191]",
  "\237[\128-\159][\128-\191]", "\240[\144-\191][\128-\191][\128-\191]",
  "[\241-\243][\128-\191][\128-\191][\128-\191]", "\244[\128-\143][\128-\191][\128-\191]",
}

-- Return whether bytes are valid UTF-8.
function text.is_utf8(bytes)
  for i = 1, #WIDE do
    bytes = bytes:gsub(WIDE[i], ".")
  end
  return not bytes:find("[\128-\255]")
end

return text

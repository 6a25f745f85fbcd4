# Writes the profiles as C++ raw string literals. cmake -DFILES=... -DOUT=... -P embed_profiles.cmake
set(text "")
foreach(file IN LISTS FILES)
  file(READ ${file} json)
  get_filename_component(name ${file} NAME)
  string(APPEND text "{\"${name}\", R\"profile(${json})profile\"},\n")
endforeach()
file(WRITE ${OUT} "${text}")

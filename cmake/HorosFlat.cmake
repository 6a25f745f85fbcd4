# horos_flat_program(<target> [NAME name] [LIBRARIES file.so…])
# Makes <build>/programs/<name>.prog out of a ring-3 program: one flat, relocated image with the
# named shared objects merged in. The name is how system descriptions and the bundle know it; that
# of the root task is "root". Target `programs` makes them all.
set(HOROS_PROGRAM_DIR ${CMAKE_BINARY_DIR}/programs CACHE INTERNAL "where flat programs go")
if(NOT TARGET programs)
  add_custom_target(programs ALL)
endif()

function(horos_flat_program target)
  cmake_parse_arguments(arg "" "NAME" "LIBRARIES" ${ARGN})
  if(NOT arg_NAME)
    set(arg_NAME ${target})
  endif()
  set(options)
  foreach(library IN LISTS arg_LIBRARIES)
    list(APPEND options --library ${library})
  endforeach()
  set(image ${HOROS_PROGRAM_DIR}/${arg_NAME}.prog)
  file(MAKE_DIRECTORY ${HOROS_PROGRAM_DIR})
  add_custom_command(OUTPUT ${image}
    COMMAND horos-pack flatten $<TARGET_FILE:${target}> ${options} -q -o ${image}
    DEPENDS ${target} horos-pack ${arg_LIBRARIES}
    COMMENT "flat program ${arg_NAME}" VERBATIM)
  add_custom_target(${arg_NAME}-flat DEPENDS ${image})
  add_dependencies(programs ${arg_NAME}-flat)
endfunction()

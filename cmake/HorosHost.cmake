# How code for the build machine is compiled: with all warnings.
function(horos_host_code target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wconversion
    -Wno-sign-conversion -Wimplicit-fallthrough)
endfunction()

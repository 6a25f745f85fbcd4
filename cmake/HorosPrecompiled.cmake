# horos_precompiled(<target> tool|test): the target's files begin with headers that are compiled once
# in a build. Three quarters of what the compiler does for host code is these headers. `tool` are
# JSON, fmt and CLI11, `test` are GoogleTest and RapidCheck. Sources include what they need all the
# same: a build without precompiled headers (CMAKE_DISABLE_PRECOMPILE_HEADERS) works.
set(HOROS_STANDARD_HEADERS <algorithm> <array> <cstdint> <filesystem> <fstream>
  <functional> <map> <optional> <set> <span> <sstream> <string> <string_view> <vector>)

function(horos_precompiled target group)
  set(owner horos_precompiled_${group})
  if(NOT TARGET ${owner})
    find_package(GTest REQUIRED)
    find_package(rapidcheck REQUIRED)
    find_package(nlohmann_json REQUIRED)
    find_package(fmt REQUIRED)
    find_package(CLI11 REQUIRED)
    set(source ${CMAKE_BINARY_DIR}/precompiled_${group}.cpp)
    file(CONFIGURE OUTPUT ${source} CONTENT "")
    add_library(${owner} STATIC EXCLUDE_FROM_ALL ${source})
    horos_host_code(${owner})
    if(group STREQUAL tool)
      target_link_libraries(${owner} PRIVATE nlohmann_json::nlohmann_json fmt::fmt CLI11::CLI11)
      target_precompile_headers(${owner} PRIVATE ${HOROS_STANDARD_HEADERS}
        <nlohmann/json.hpp> <fmt/format.h> <CLI/CLI.hpp>)
    elseif(group STREQUAL test)
      target_link_libraries(${owner} PRIVATE GTest::gtest rapidcheck)
      target_precompile_headers(${owner} PRIVATE ${HOROS_STANDARD_HEADERS}
        <gtest/gtest.h> <rapidcheck.h>)
    else()
      message(FATAL_ERROR "no group of precompiled headers: ${group}")
    endif()
  endif()
  target_precompile_headers(${target} REUSE_FROM ${owner})
endfunction()

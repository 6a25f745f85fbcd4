# horos_slow_tests(TARGET LABEL SECONDS): the GoogleTests of TARGET, found when CTest runs, each with
# the labels LABEL and "slow", a limit of SECONDS, and nothing beside it.
# (gtest_discover_tests takes a list of labels for further properties, and says nothing.)
include(GoogleTest)

function(horos_slow_tests target label seconds)
  gtest_discover_tests(${target} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60 TEST_LIST found_${target})
  set(properties ${CMAKE_CURRENT_BINARY_DIR}/${target}_properties.cmake)
  file(WRITE ${properties}
    "if(found_${target})\n"
    "  set_tests_properties(\${found_${target}} PROPERTIES\n"
    "    LABELS \"${label};slow\" TIMEOUT ${seconds} RUN_SERIAL ON)\n"
    "endif()\n")
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${properties})
endfunction()

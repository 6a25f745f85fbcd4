# Target horos_abi: the generated hypercall headers, and the definition headers they use.
set(HOROS_ABI_SPEC ${CMAKE_SOURCE_DIR}/defs/abi/hypercalls.toml)
set(HOROS_ABI_DIR ${CMAKE_BINARY_DIR}/generated)
set(HOROS_ABI_DOCS ${CMAKE_SOURCE_DIR}/docs/hypercalls.md)

set(generated ${HOROS_ABI_DIR}/horos/abi/gen/calls.hpp ${HOROS_ABI_DIR}/horos/abi/gen/decode.hpp
  ${HOROS_ABI_DIR}/horos/abi/gen/bad_arguments.hpp
  ${HOROS_ABI_DIR}/horos/abi/gen/spec_calls.hpp ${HOROS_ABI_DIR}/horos/user/stubs.hpp)
# The headers are left alone when nothing in them changed; the stamp says that they were looked at.
add_custom_command(OUTPUT ${HOROS_ABI_DIR}/stamp
  BYPRODUCTS ${generated}
  COMMAND horos-abigen ${HOROS_ABI_SPEC} --output ${HOROS_ABI_DIR}
  COMMAND ${CMAKE_COMMAND} -E touch ${HOROS_ABI_DIR}/stamp
  DEPENDS horos-abigen ${HOROS_ABI_SPEC}
  COMMENT "hypercall headers" VERBATIM)
add_custom_target(horos_abi_headers DEPENDS ${HOROS_ABI_DIR}/stamp)

add_library(horos_abi INTERFACE)
target_include_directories(horos_abi INTERFACE ${HOROS_ABI_DIR})
target_link_libraries(horos_abi INTERFACE horos_defs)
add_dependencies(horos_abi horos_abi_headers)

add_custom_target(abi-docs
  COMMAND horos-abigen ${HOROS_ABI_SPEC} --docs ${HOROS_ABI_DOCS} DEPENDS horos-abigen VERBATIM)
add_test(NAME abi-docs-up-to-date
  COMMAND horos-abigen ${HOROS_ABI_SPEC} --check-docs ${HOROS_ABI_DOCS})

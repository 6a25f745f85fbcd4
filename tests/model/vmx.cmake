# Tests of the VMX half of the model.
function(horos_vmx_test name)
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE horos::model_vmx GTest::gtest_main rapidcheck ${Z3_LIBRARY})
  target_compile_options(${name} PRIVATE -Wall -Wextra)
  horos_precompiled(${name} test)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/model/src/vmx ${Z3_INCLUDE_DIR})
  gtest_discover_tests(${name}
    PROPERTIES LABELS model ENVIRONMENT_MODIFICATION "RC_PARAMS=string_append: max_success=300"
    DISCOVERY_TIMEOUT 60)
endfunction()

horos_vmx_test(model_vmx_smt_test vmx_smt_test.cpp)
horos_vmx_test(model_vmx_property_test vmx_property_test.cpp)
horos_vmx_test(model_vmx_operation_test vmx_operation_test.cpp)
horos_vmx_test(model_vmx_guest_test vmx_guest_test.cpp)
horos_vmx_test(model_vmx_apic_test vmx_apic_test.cpp)
horos_vmx_test(model_vmx_ve_test vmx_ve_test.cpp)
horos_vmx_test(model_vmx_delivery_test vmx_delivery_test.cpp)
horos_vmx_test(model_vmx_tlb_test vmx_tlb_test.cpp)
horos_vmx_test(model_vmx_stack_test vmx_stack_test.cpp)

add_executable(model_vmx_reference_test vmx_reference_test.cpp)
target_link_libraries(model_vmx_reference_test PRIVATE horos::model_vmx GTest::gtest)
target_compile_definitions(model_vmx_reference_test PRIVATE
  HOROS_DOCS_REFERENCE="${PROJECT_SOURCE_DIR}/docs/reference")
gtest_discover_tests(model_vmx_reference_test PROPERTIES LABELS model DISCOVERY_TIMEOUT 60)

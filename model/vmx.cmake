# The VMX half of the model: a library of its own, since a target is of one vendor.
file(GLOB vmx_profile_files CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/profiles/vmx/*.json)
set(vmx_profiles_source ${CMAKE_CURRENT_BINARY_DIR}/builtin_vmx_profiles.inc)
add_custom_command(
  OUTPUT ${vmx_profiles_source}
  COMMAND ${CMAKE_COMMAND} "-DFILES=${vmx_profile_files}" -DOUT=${vmx_profiles_source}
          -P ${CMAKE_CURRENT_SOURCE_DIR}/embed_profiles.cmake
  DEPENDS ${vmx_profile_files} ${CMAKE_CURRENT_SOURCE_DIR}/embed_profiles.cmake
  COMMENT "Embedding the VMX processor profiles" VERBATIM)

file(GLOB vmx_model_sources CONFIGURE_DEPENDS 
  ${CMAKE_CURRENT_SOURCE_DIR}/src/vmx/*.cpp ${CMAKE_CURRENT_SOURCE_DIR}/src/vmx/guest/*.cpp)
add_library(horos_model_vmx STATIC ${vmx_model_sources} ${vmx_profiles_source})
add_library(horos::model_vmx ALIAS horos_model_vmx)
set_target_properties(horos_model_vmx PROPERTIES EXPORT_NAME model_vmx)
target_compile_features(horos_model_vmx PUBLIC cxx_std_20)
target_compile_options(horos_model_vmx PRIVATE -Wall -Wextra -Wpedantic -Werror=switch)
target_include_directories(horos_model_vmx
  PUBLIC $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>
  PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/src ${CMAKE_CURRENT_SOURCE_DIR}/src/vmx
    ${CMAKE_CURRENT_BINARY_DIR} ${Z3_INCLUDE_DIR})
target_link_libraries(horos_model_vmx PUBLIC horos::defs
  PRIVATE ${Z3_LIBRARY} fmt::fmt Zydis::Zydis $<BUILD_INTERFACE:nlohmann_json::nlohmann_json>)

// Names of the interface as C++ names.
#pragma once
#include <string>

#include "tools/common/text.hpp"

namespace horos::tools::abigen {

bool is_snake_case(const std::string& name);
std::string identifier(const std::string& name); // "delete" -> "delete_"
std::string camel_case(const std::string& name); // "frame_retype" -> "FrameRetype"
std::string quoted(const std::string& text);     // as a C++ string literal
std::string generated_notice(const std::string& source, const char* comment);

} // namespace horos::tools::abigen

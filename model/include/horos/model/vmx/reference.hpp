// The rule and field tables as Markdown: docs/reference/vmx-rules.md and vmx-fields.md are these
// texts, and a test keeps them up to date (tests/model/vmx_reference_test.cpp).
#pragma once

#include <string>

namespace horos::model::vmx {

std::string rules_markdown();
std::string fields_markdown();

} // namespace horos::model::vmx

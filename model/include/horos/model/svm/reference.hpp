// The rule and field tables as Markdown: docs/reference/svm-rules.md and svm-fields.md are these
// texts, and a test keeps them up to date (see tests/model/reference_test.cpp).
#pragma once

#include <string>

namespace horos::model::svm {

std::string rules_markdown();
std::string fields_markdown();

} // namespace horos::model::svm

// Names for reports.
#pragma once

#include "horos/model/vmx/rules.hpp"

namespace horos::model::vmx {

std::string failure_text(const Failure& failure); // "VMfailValid, error 7 (...)"
std::string_view instruction_error_text(horos::vmx::InstructionError error);
std::string exit_reason_name(uint32_t basic_reason); // "HLT", "reason 35" if undefined

} // namespace horos::model::vmx

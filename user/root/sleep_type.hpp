// Finds the value that ACPI's S5 state (power off) needs: SLP_TYPa of the package _S5_ in the DSDT
// (ACPI 6.4 §7.4.2, AML encodings in §20.2). No interpreter: the first name object _S5_ with a
// package of constants is taken.
#pragma once
#include <optional>

#include <horos/abi/types.hpp>

namespace horos::root {

std::optional<abi::u8> find_sleep_type(const abi::u8* aml, abi::u64 size);

} // namespace horos::root

// The hypercalls and their vocabulary, for programs.
#pragma once
#include <horos/abi/objects.hpp>
#include <horos/abi/types.hpp>
#include <horos/user/stubs.hpp>

namespace horos::rt {

using abi::Error;
using abi::u16;
using abi::u32;
using abi::u64;
using abi::u8;

} // namespace horos::rt

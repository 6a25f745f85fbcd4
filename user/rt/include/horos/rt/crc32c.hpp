// CRC-32C (Castagnoli), as the bundle uses it: start and end value inverted.
#pragma once
#include <horos/abi/types.hpp>

namespace horos::rt {

// `crc` is the result for the bytes before, 0 at the start.
abi::u32 crc32c(const void* bytes, abi::u64 size, abi::u32 crc = 0);

} // namespace horos::rt

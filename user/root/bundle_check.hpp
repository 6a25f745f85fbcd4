// Whether the boot bundle is whole: structure, bounds, checksum of every entry. No hypercalls here,
// so that the host tests run it.
#pragma once
#include <horos/abi/bundle.hpp>
#include <horos/rt/text.hpp>

namespace horos::root {

using BundleMessage = rt::Text<160>;

// False, and says in `message` which entry is wrong and how.
bool check_bundle(const void* bytes, abi::u64 size, BundleMessage& message);

// Whether entry `index` is a well-formed program; needs a checked bundle.
bool check_program(const void* bundle, abi::u32 index, BundleMessage& message);

inline const abi::BundleHeader& bundle_header(const void* bundle) {
    return *static_cast<const abi::BundleHeader*>(bundle);
}
inline const abi::u8* entry_bytes(const void* bundle, abi::u32 index) {
    return static_cast<const abi::u8*>(bundle) + bundle_header(bundle).entries[index].offset;
}

} // namespace horos::root

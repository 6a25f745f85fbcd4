// Compiled systems and bundles for people to read.
#pragma once
#include <horos/abi/system.hpp>
#include <string>

namespace horos::tools::pack {

std::string system_text(const abi::System& system);

} // namespace horos::tools::pack

#include "tools/pack/commands.hpp"

namespace horos::tools::pack {
void add_check(CLI::App&) {}
} // namespace horos::tools::pack

// Description file -> binary form and the list of what goes into the bundle.
#pragma once
#include <horos/abi/bundle.hpp>
#include <horos/abi/system.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tools/common/diagnostics.hpp"

namespace horos::tools::pack {

struct CompileOptions {
    std::string file;
    std::vector<std::string> file_directories;    // for kernels and initramfs images
    std::optional<std::string> program_directory; // of NAME.prog; absent: not looked for
};

// One future bundle entry; `path` is empty for the compiled system itself.
struct BundleFile {
    std::string name;
    abi::BundleType type;
    std::string path;
};

struct CompiledSystem {
    abi::System system{};
    std::vector<BundleFile> files; // in the order of the bundle
};

// Nothing when there was an error. Throws Fatal when the description cannot be read.
std::optional<CompiledSystem> compile_description(const CompileOptions& options, Diagnostics& out);

} // namespace horos::tools::pack

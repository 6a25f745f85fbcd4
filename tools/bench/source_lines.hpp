// Lines of code of the kernel, by part.
#pragma once
#include <map>
#include <string>

namespace horos::bench {

// Non-blank, non-comment lines of the sources below each folder of `kernel`.
std::map<std::string, unsigned> source_lines(const std::string& kernel);

} // namespace horos::bench

// Whole files in and out, with errors that name the file. All throw Fatal.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace horos::tools {

std::string read_text(const std::string& file);
std::vector<std::uint8_t> read_bytes(const std::string& file);
// Written beside and renamed, so that nobody ever sees half a file, also when several write it.
void write_file(const std::string& file, std::span<const std::uint8_t> bytes);
// Leaves the file alone when it holds this text already (keeps the build from going on and on).
bool write_text_if_changed(const std::string& file, std::string_view text);

} // namespace horos::tools

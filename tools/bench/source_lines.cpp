#include "source_lines.hpp"
#include <filesystem>
#include <fstream>
#include <set>

namespace horos::bench {
namespace {

namespace fs = std::filesystem;

// One line, comments taken out. `inside` says whether a block comment is open.
bool has_code(const std::string& line, bool& inside) {
    bool code = false;
    for (std::size_t i = 0; i < line.size(); ++i) {
        const bool pair = i + 1 < line.size();
        if (inside) {
            if (pair && line[i] == '*' && line[i + 1] == '/') {
                inside = false;
                ++i;
            }
        } else if (pair && line[i] == '/' && line[i + 1] == '/') {
            break;
        } else if (pair && line[i] == '/' && line[i + 1] == '*') {
            inside = true;
            ++i;
        } else if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r') {
            code = true;
        }
    }
    return code;
}

unsigned count(const fs::path& path) {
    std::ifstream file(path);
    unsigned lines = 0;
    bool inside = false;
    for (std::string line; std::getline(file, line);)
        lines += has_code(line, inside) ? 1 : 0;
    return lines;
}

} // namespace

std::map<std::string, unsigned> source_lines(const std::string& kernel) {
    static const std::set<std::string> sources = {".cpp", ".hpp", ".h", ".S", ".ld"};
    std::map<std::string, unsigned> lines;
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(kernel)) {
        if (!entry.is_regular_file() || !sources.contains(entry.path().extension().string()))
            continue;
        const fs::path part = fs::relative(entry.path(), kernel);
        const std::string name =
            part.has_parent_path() ? part.begin()->string() : "(linker script)";
        lines[name] += count(entry.path());
    }
    return lines;
}

} // namespace horos::bench

// horos-bench: what exits, hypercalls, IPC and booting cost, and how large the kernel is.
#include "measure.hpp"
#include "source_lines.hpp"
#include "tools/machine/bundles.hpp"
#include <CLI/CLI.hpp>
#include <filesystem>
#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <regex>

namespace horos::bench {
namespace {

struct Row {
    const char* name;
    const char* title;
    const char* unit;
    double target; // 0 = none
    const char* others;
};

// The figures of others are those of the same QEMU, as the project's first plan gives them.
constexpr Row rows[] = {
    {"guest-cpuid", "CPUID, guest to VMM and back", "instructions", 500, "KVM 3131"},
    {"guest-port-out", "port OUT", "instructions", 500, "KVM 3562"},
    {"guest-port-in", "port IN", "instructions", 500, "Xen 1190"},
    {"guest-mmio-read", "MMIO read", "instructions", 1500, "KVM 6265"},
    {"guest-mmio-write", "MMIO write", "instructions", 1500, ""},
    {"guest-msr-read", "MSR read", "instructions", 0, ""},
    {"guest-msr-write", "MSR write", "instructions", 0, ""},
    {"guest-vmmcall", "VMMCALL", "instructions", 0, ""},
    {"guest-nested-fault", "nested fault served by the VMM", "instructions", 0, ""},
    {"guest-interrupt-to-handler", "virtual interrupt to guest handler", "instructions", 0, ""},
    {"null-hypercall", "null hypercall", "instructions", 50, "NOVA 55"},
    {"ipc-call-reply", "IPC call + reply, two domains", "instructions", 250, "NOVA 264"},
    {"interrupt-to-user-thread", "interrupt to user thread", "instructions", 0, ""},
    {"signal-to-waiting-thread", "signal to waiting thread", "instructions", 0, ""},
    {"entry-to-root-task", "kernel entry to root task", "instructions", 5e6, "NOVA 14.9 M"},
    {"boot-tax-wall", "Linux boot, with / without Horos, wall", "ratio", 1.25, "KVM 1.60"},
    {"boot-tax-instructions", "Linux boot, instructions", "ratio", 1.02, "KVM 1.045"},
    {"boot-seconds-horos", "Linux boot with Horos (median)", "s", 0, ""},
    {"boot-seconds-bare", "Linux boot without (median)", "s", 0, ""},
    {"kernel-text", "kernel text", "bytes", 65536, "NOVA 86 KB"},
    {"kernel-text-vmx", "text of vmx/, apart", "bytes", 0, ""},
    {"kernel-image", "kernel image without debug data", "bytes", 0, ""},
    {"kernel-lines", "kernel lines of code without vmx/", "lines", 8000, ""},
    {"kernel-lines-svm", "of them svm/", "lines", 900, ""},
    {"kernel-lines-vmx", "vmx/", "lines", 1200, ""},
};

void add_sizes(std::map<std::string, double>& figures) {
    std::string output;
    machine::run("llvm-size-19 -A " HOROS_KERNEL_IMAGE, output);
    double image = 0;
    static const std::regex line("^(\\.[a-z_.]+) +([0-9]+)", std::regex::multiline);
    for (std::sregex_iterator it(output.begin(), output.end(), line), end; it != end; ++it) {
        const std::string section = (*it)[1];
        if (section.starts_with(".debug"))
            continue;
        if (section != ".bss")
            image += std::stod((*it)[2]);
        if (section == ".text")
            figures["kernel-text"] = std::stod((*it)[2]);
        if (section == ".vmxtext")
            figures["kernel-text-vmx"] = std::stod((*it)[2]);
    }
    figures["kernel-image"] = image;
    double total = 0;
    for (const auto& [part, lines] : source_lines(HOROS_SOURCE "/kernel")) {
        figures["kernel-lines-" + part] = lines;
        if (part != "vmx")
            total += lines;
    }
    figures["kernel-lines"] = total;
}

void add_boots(unsigned rounds, std::map<std::string, double>& figures) {
    BootTimes with, without;
    measure_boots(rounds, with, without);
    figures["boot-seconds-horos"] = median(with.seconds);
    figures["boot-seconds-bare"] = median(without.seconds);
    figures["boot-tax-wall"] = median(with.seconds) / median(without.seconds);
    figures["boot-tax-instructions"] = median(with.instructions) / median(without.instructions);
    figures["boot-instructions-horos"] = median(with.instructions);
    figures["boot-instructions-bare"] = median(without.instructions);
}

std::string number(double value) {
    return value == static_cast<double>(static_cast<long long>(value))
               ? fmt::format("{:.0f}", value)
               : fmt::format("{:.3f}", value);
}

void print_table(const std::map<std::string, double>& figures) {
    fmt::print("{:<40} {:>14} {:<13} {:>10}  {:<5} {}\n", "what", "measured", "unit", "target", "",
               "others on the same QEMU");
    for (const Row& row : rows) {
        const auto it = figures.find(row.name);
        if (it == figures.end())
            continue;
        const char* verdict = row.target == 0 ? "" : it->second <= row.target ? "met" : "MISSED";
        fmt::print("{:<40} {:>14} {:<13} {:>10}  {:<6} {}\n", row.title, number(it->second),
                   row.unit, row.target == 0 ? "" : "<= " + number(row.target), verdict,
                   row.others);
    }
    fmt::print("\nkernel lines of code by part:");
    for (const auto& [name, value] : figures) {
        if (name.starts_with("kernel-lines-"))
            fmt::print(" {} {},", name.substr(13), number(value));
    }
    fmt::print(" all without vmx {}\n", number(figures.at("kernel-lines")));
}

int run(bool json, unsigned rounds, bool skip_boots) {
    std::map<std::string, double> figures;
    const auto status = [](const char* text) { fmt::print(stderr, "horos-bench: {}\n", text); };
    add_sizes(figures);
    status("exits, hypercalls, IPC (QEMU -icount shift=0)");
    figures.merge(measure_costs());
    if (!skip_boots) {
        status("booting Linux with and without Horos, in turns");
        add_boots(rounds, figures);
    }
    if (json)
        fmt::print("{}\n", nlohmann::json(figures).dump(2));
    else
        print_table(figures);
    return 0;
}

} // namespace
} // namespace horos::bench

int main(int argc, char** argv) {
    CLI::App app("Measures what exits, hypercalls, IPC and booting cost.", "horos-bench");
    bool json = false;
    bool skip_boots = false;
    unsigned rounds = 5;
    app.add_flag("--json", json, "print JSON instead of a table");
    app.add_option("--rounds", rounds, "boots of each kind (default 5)")->check(CLI::Range(1, 100));
    app.add_flag("--no-boot", skip_boots, "leave out the boot tax");
    CLI11_PARSE(app, argc, argv);
    try {
        return horos::bench::run(json, rounds, skip_boots);
    } catch (const std::exception& e) {
        fmt::print(stderr, "horos-bench: error: {}\n", e.what());
        return 1;
    }
}

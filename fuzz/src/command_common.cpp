#include "commands.hpp"
#include <CLI/CLI.hpp>
#include <filesystem>
#include <fmt/format.h>

#ifndef HOROS_FUZZ_IMAGE_DIR
#define HOROS_FUZZ_IMAGE_DIR "."
#endif

namespace horos::fuzz {

std::atomic<bool> interrupted{false};

TargetOptions Common::options() const {
    TargetOptions t;
    t.kind = parseTarget(target);
    std::string folder = images;
    if (folder.empty()) { // beside the program first, then where it was built
        std::error_code ignored;
        auto self = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path();
        folder = std::filesystem::exists(self / "horos-fuzz-harness.elf") ? self.string()
                                                                          : HOROS_FUZZ_IMAGE_DIR;
    }
    t.harnessElf = folder + "/horos-fuzz-harness.elf";
    t.harnessRom = folder + "/horos-fuzz-harness.rom";
    for (const std::string& file : {t.harnessElf, t.harnessRom})
        if (!std::filesystem::exists(file))
            throw std::runtime_error(
                fmt::format("there is no {}: build the target horos-fuzz-harness, or give "
                            "--images",
                            file));
    return t;
}

void Common::addTo(CLI::App& app) {
    app.add_option("--target", target, "qemu-svm or bochs-svm")
        ->check(CLI::IsMember({"qemu-svm", "bochs-svm"}))
        ->capture_default_str();
    app.add_option("--profile", profile, "processor profile (default: the target's own)");
    app.add_option("--images", images, "folder with the harness images");
}

CampaignOptions campaignOptions(const CampaignArguments& a) {
    CampaignOptions options;
    options.target = a.common.options();
    options.profile = a.common.profile;
    options.seconds = a.seconds;
    options.cases = a.cases;
    options.seed = a.seed;
    options.jobs = a.jobs;
    options.corpus = a.corpus;
    options.triage = a.triage;
    options.stop = [] { return interrupted.load(); };
    return options;
}

} // namespace horos::fuzz

"""The vocabulary of reasons: one word for every answer a look can give, with its meaning and what to do about it.

Logs, events, reports and `docs/reasons.md` share these words. `python -m migrate.model.reasons > docs/reasons.md` writes that page anew;
tests compare the page with this table and this table with the code.
"""

from __future__ import annotations

from dataclasses import dataclass

NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Reason:
    """One word. `remedy` is what a person does; "nothing" where the tool or the cluster goes on by itself."""

    meaning: str
    remedy: str = NOTHING


_TABLE: dict[str, dict[str, Reason]] = {
    "Anywhere": {
        "BeingDeleted": Reason("an object is on its way out; it is waited for"),
        "NameTaken": Reason(
            "a name we need belongs to an object without our mark", "rename or remove that object, or choose another target"
        ),
        "Unreachable": Reason("a cluster did not answer; nothing is concluded from that", "see whether the API server can be reached"),
        "ChangedMeanwhile": Reason("an object changed between our look and our write; we look again", "find out what keeps changing it"),
        "Unauthorized": Reason("a cluster does not accept our credentials (401)", "log in again, then run the same command again"),
        "Forbidden": Reason("a cluster does not let us do something (403)", "ask for the right that is named, then run the same again"),
        "Invalid": Reason("a cluster refuses an object (422), by its schema or by a webhook", "see what it says; then run again or undo"),
        "OwnedByAnother": Reason("a field that we need belongs to another field manager", "let it make the change, or give up the field"),
        "Refused": Reason("a cluster refused a call in some other way", "see its own words"),
        "Removed": Reason("nothing of this step is left"),
        "Nothing": Reason("this step leaves nothing behind that could be taken back"),
    },
    "Check and claim": {
        "Checked": Reason("nothing stands in the way"),
        "CheckFailed": Reason("something stands in the way; nothing was changed", "cure every problem that is listed, then run again"),
        "ClaimMissing": Reason("nobody has claimed the source VM, or the target's name; we do"),
        "Claimed": Reason("this run holds the claim"),
        "ClaimNotWritten": Reason("the number of the claim is to be written on what this run will change"),
        "Held": Reason("another run that lives holds the claim", "wait for it, or end it"),
        "HolderDead": Reason("the run that held the claim is gone; we take it over"),
        "HolderMaybeDead": Reason("another run holds the claim and we look whether it renews it"),
        "HolderSilent": Reason("the holder has not renewed its claim in time; we take it over"),
        "ClaimLeft": Reason("the claims are given up, as the last thing"),
        "NamespaceMissing": Reason("the target namespace is to be created"),
        "NamespaceLeaving": Reason("the target namespace is being deleted", "wait until it is gone, or choose another"),
        "CaseClosed": Reason("another run finished or undid this migration meanwhile", "run the same command again"),
        "RecordMissing": Reason("the request is to be recorded on the target"),
        "RecordOutdated": Reason("the VM has other disks than were recorded, and nothing was done for those; the record is written anew"),
        "DryRunRefused": Reason("the target would refuse what it will be given", "cure what the cluster says, then run again"),
        "Prepared": Reason("the target takes what it will be given"),
        "ReferencesMissing": Reason("Secrets and ConfigMaps that the VM names are to be copied to the target"),
        "ReferencesThere": Reason("the target has the Secrets and ConfigMaps that the VM names"),
        "ReferencesSkipped": Reason("what the VM names is left to others (--references skip)"),
        "ReferenceDiffers": Reason(
            "the target has a Secret or ConfigMap of a name that the VM uses, with other content",
            "say --references replace or skip, or make it equal",
        ),
        "ReferencesLacking": Reason(
            "the VM that the snapshot holds names more than the source does now; some of it is missing, or differs",
            "cure every problem that is listed, then run the same command again: it takes another snapshot",
        ),
        "Kept": Reason("record and namespace stay when a migration is taken back"),
    },
    "Source": {
        "NotHalted": Reason("the source is to be halted"),
        "HaltAnnounced": Reason("what the source was is written on it; the halt follows"),
        "SnapshotInProgress": Reason("a snapshot locks the VM; it is waited for"),
        "GuestShuttingDown": Reason("the guest shuts down within its grace period", "shut it down from inside if it does not listen"),
        "LauncherLeaving": Reason("the guest is down, a pod still holds its disks"),
        "StatusLagging": Reason("the guest is down, KubeVirt's status does not say so yet"),
        "Stopped": Reason("the source is fully stopped and held at a generation"),
        "SourceStartedAgain": Reason("somebody started the source after our halt; every copy is stale", "`migrate undo`, then move anew"),
        "SourceChanged": Reason(
            "the source is at another generation than our halt left; copies may be stale", "`migrate undo`, then move anew"
        ),
        "SourceGone": Reason("the source VM was deleted", "find out who; the copies on the target are still there"),
        "SourceBeingDeleted": Reason("the source VM is being deleted", "find out who; the copies on the target are still there"),
        "DisksChanged": Reason(
            "the VM has other disks than this migration copies",
            "run again if nothing was done for them yet; else `migrate undo`, then move anew",
        ),
        "TargetLost": Reason(
            "the target was or may have been started, or the migration was through, and the target's VM or disks are gone or others",
            "bring them back, or `migrate undo --even-if-started` if that was wanted, then move anew",
        ),
        "HaltedByAnother": Reason("another migration holds the halt of this VM", "finish or undo that one first"),
        "WasUnreadable": Reason(
            "the memory of what the source was is broken", "say --start always or never; set the source's strategy by hand"
        ),
        "NotReleased": Reason("the source is to be marked as moved"),
        "Released": Reason("the source is marked as moved; it is no longer watched"),
        "Restoring": Reason("the source is being given its run strategy and its start back"),
        "Restored": Reason("the source is as it was before"),
    },
    "Snapshot of the source": {
        "SnapshotMissing": Reason("the source is to be snapshotted, while it goes on"),
        "SnapshotPending": Reason("KubeVirt has not taken the snapshot yet", "look at its conditions if it stays"),
        "SnapshotTroubled": Reason(
            "KubeVirt meets an error with the snapshot and tries again until its deadline", "see the guest agent and the storage"
        ),
        "SnapshotNotReady": Reason(
            "the snapshot is taken and the storage has not made it usable yet", "look at the VolumeSnapshots if it stays"
        ),
        "SnapshotFailed": Reason("KubeVirt gave the snapshot up at its deadline", "cure what it says; the same command takes another"),
        "SnapshotTaken": Reason("the snapshot can be used, and every disk is in it"),
        "SnapshotServed": Reason("every disk is proven, so the snapshot is not needed any more"),
        "SnapshotGone": Reason(
            "the snapshot was removed before every disk was proven", "`migrate undo`, then copy anew; without copies, run again"
        ),
        "SnapshotLeft": Reason("the snapshot is removed now"),
        "VolumeExcluded": Reason(
            "the snapshot does not hold what was asked for: a disk is missing or new", "see VM.status.volumeSnapshotStatuses, or move"
        ),
        "SourceReplaced": Reason("the source VM is gone, or another one has its name", "`migrate undo`"),
    },
    "Export": {
        "NoDisks": Reason("the VM has no disks to move"),
        "TokenMissing": Reason("the export's token is to be made"),
        "ExportMissing": Reason("the disks are to be offered"),
        "ExportPending": Reason("KubeVirt is preparing the export", "look at the export's events if it stays"),
        "ExportSilent": Reason(
            "KubeVirt writes no status", "look for two volumes with one claim, a quota, a LimitRange, or the gate VMExport"
        ),
        "ExportSkipped": Reason("KubeVirt sees no VM or no disks; it looks again by itself", "look at the export's conditions if it stays"),
        "ExportRestarting": Reason("the export's pod reached its deadline or failed and is replaced"),
        "ExportInUse": Reason("KubeVirt has not noted yet that the VM is stopped"),
        "ExportExpired": Reason("the export is past its time to live; it is made again under the same name and token"),
        "ExportAway": Reason("the export is not ready just now; imports wait for it"),
        "ExporterLeaving": Reason("the server pod of an earlier export is not gone yet"),
        "ExportReady": Reason("every disk has its own link"),
        "NoExternalLink": Reason("the export is ready without external links", "create an Ingress or Route to virt-exportproxy"),
        "DiskNotOffered": Reason(
            "a disk has no link of the wanted format", "see the format offered: annotate the claim, or choose --format"
        ),
        "LinksClash": Reason("two disks were given one link", "report it: a defect of the source's KubeVirt"),
    },
    "Import": {
        "CaMissing": Reason("the target is to be given the CA of the export host"),
        "CaRotated": Reason("the export host has another CA now; it is replaced in place"),
        "HeaderMissing": Reason("the target is to be given the export's token"),
        "TokenRotated": Reason("the export has another token now; it is replaced in place"),
        "DiskMissing": Reason("a disk is to be created on the target"),
        "DiskPending": Reason("CDI is preparing the import", "look at the DataVolume's events if it stays"),
        "ScratchSpace": Reason("CDI makes scratch space, as for every import"),
        "Importing": Reason("disks are being imported"),
        "ImportingBlind": Reason("an import works, and CDI tells no figures for this stretch (gzip, conversion)"),
        "DiskBinding": Reason("imported, its claim is not bound yet"),
        "DiskCopied": Reason("a disk is imported and bound"),
        "Imported": Reason("every disk is imported and bound"),
        "StateToCarry": Reason("TPM and EFI state is to be sent to its claim, whose upload server waits for it"),
        "Carrying": Reason("TPM and EFI state is being read from the source and sent to its claim"),
        "UploadNotTrusted": Reason("the target's upload proxy shows a certificate that is not trusted", "give its CA with --target-ca"),
        "StateNotCarried": Reason(
            "TPM and EFI state could not be sent to its claim", "see the way to both clusters and the upload server's pod, then run again"
        ),
        "NoConsumer": Reason("the claim waits for a pod, and a halted VM has none", "run again: it is made anew with immediate binding"),
        "ClaimNotValid": Reason("CDI cannot make a claim of the request", "name a class with --map-storage, or mend its StorageProfile"),
        "QuotaExceeded": Reason("a quota refuses a claim or pod of the import", "raise it, or lower --parallel-disks"),
        "ImporterUnschedulable": Reason("the importer pod finds no node", "make room on a node"),
        "ClaimUnbound": Reason(
            "a claim of the importer has no volume: the hidden one or its scratch space", "see the events of those claims"
        ),
        "ImporterNotStarted": Reason("CDI cannot start the importer pod", "look at the DataVolume's events"),
        "ImporterImage": Reason("CDI's importer image cannot be pulled", "make it pullable on the target"),
        "ImporterEvicted": Reason("the importer pod is dead and CDI does not replace it; we delete it"),
        "ImporterOutOfMemory": Reason(
            "the importer was killed for memory; CDI tries once more by itself", "raise CDI's podResourceRequirements"
        ),
        "LeftoverDisk": Reason("a killed importer left half a disk, on which every retry fails; the disk is made anew"),
        "LinkChanged": Reason("the link of a disk changed, and a DataVolume cannot; the disk is made anew"),
        "BegunAnew": Reason("an earlier run gave a disk up; this one makes it anew"),
        "QuotaMayFit": Reason("a quota refused a disk and may fit it now that others are through; it is made anew"),
        "RecreatedTooOften": Reason("a disk was made anew again and again", "look at the importer's log and its node"),
        "TokenRefused": Reason(
            "the export refused the token; CDI tries again", "see that no proxy strips the header x-kubevirt-export-token"
        ),
        "LinkGone": Reason("the export's host does not know the link; CDI tries again", "see the export and its Ingress on the source"),
        "CertificateRefused": Reason("the importer does not trust the export host; CDI tries again", "give its CA with --source-ca"),
        "TransferBroken": Reason(
            "a transfer broke; CDI tries again from its start", "look at the importer's log and the way between the clusters"
        ),
        "DiskTooSmall": Reason(
            "the file system of the claim leaves too little room", "raise CDI's filesystemOverhead, or map to another class"
        ),
        "AnotherDisk": Reason("a disk of the target is the copy of another disk", "`migrate undo` removes it; then move anew"),
        "StaleDisks": Reason("a copy belongs to an earlier halt of the source", "`migrate undo` removes it; then move anew"),
        "DiskInUse": Reason("somebody else uses a disk that is to be copied or deleted", "take the disk off it, then go on"),
        "ImportFailed": Reason("a disk cannot be imported", "cure what is said of the disk; then run again or undo"),
        "ImportBlocked": Reason("several disks need a person, for several reasons", "cure what is said of each disk"),
    },
    "Proof": {
        "DisksMissing": Reason("a disk that is to be proven is not there, or is being deleted", "run the same again: it is made anew"),
        "ProofToBegin": Reason("a disk is to be compared with its source"),
        "Comparing": Reason("disks are being compared"),
        "ProofBroke": Reason("a comparison broke off; it is begun again"),
        "ProofBroken": Reason("a comparison broke off three times, so nothing is known of the disk", "see why; then run again"),
        "ProofToWrite": Reason("a comparison is done; its result is to be written on the disk"),
        "ProofLeft": Reason("every disk is proven; the export that it was read through is removed"),
        "ProofLeaving": Reason("every disk is proven; the server pod it was read through is not gone yet"),
        "StateLabelled": Reason("the label of TPM and EFI state is taken off the DataVolume; only its claim keeps it"),
        "Proven": Reason("every disk is proven"),
        "NotAsked": Reason("no proof was asked for (--verify off)"),
        "HostNotTrusted": Reason(
            "the export host cannot be trusted with the CA we have",
            "give it with --source-ca or --target-ca, to `migrate export` with --ca",
        ),
        "DiskDiffers": Reason("a copy differs from its source", "`migrate undo`, then move anew; keep the report"),
    },
    "Target": {
        "TargetMissing": Reason("the target VM is not made yet"),
        "TargetMade": Reason("the target VM is there, halted"),
        "TargetToNote": Reason("the target VM is there; which one it is is noted on the disks that it was made on"),
        "NotStarted": Reason("the target is to be started"),
        "TargetStopping": Reason("an undo that was told to stops the target first"),
        "StrategyToRestore": Reason("a Manual target was started by Always; it gets its own strategy as soon as its instance is there"),
        "LeftHalted": Reason("the target stays halted, as asked"),
        "StartToNote": Reason("that a guest may write to the target's disks is noted on them, before it is started"),
        "StartedByAnother": Reason("somebody started the target, or chose its run strategy, though we were not to start it; it is left so"),
        "DisksNotProven": Reason("a disk without proof; the target is not started", "run again, so that it is proven"),
        "TargetStarted": Reason("the target was started", "decide which side is to live; undo it only on purpose"),
        "HalfUndone": Reason(
            "the source of a finished move is halted by it and not marked as moved: an undo was begun and not ended",
            "go on with `migrate undo --even-if-started`, or mark the source as moved again",
        ),
        "MovedOn": Reason(
            "the target was moved on, or is being moved on, by another migration, so an undo of this one deletes nothing",
            "take that one back first",
        ),
        "LastCopies": Reason(
            "the copies on the target are all that is left, so an undo deletes nothing", "keep the target, or bring the source back first"
        ),
        "TargetStoppedAgain": Reason("somebody stopped the target after our start", "start it yourself, or leave it; then run again"),
        "TargetGone": Reason("the target VM was deleted", "find out who; run again to make it anew"),
        "Starting": Reason("KubeVirt is starting the target"),
        "InstanceNotReady": Reason("the instance runs and is not ready yet"),
        "InstanceUnknown": Reason("the node that runs the target does not answer", "look at the node"),
        "AgentNotConnected": Reason("the guest agent has not connected yet, as it had on the source", "look at the guest's console"),
        "GuestFailed": Reason("the instance failed; KubeVirt may start it again"),
        "GuestStopped": Reason("the guest shut itself down after the start", "look at its console; start it yourself, or undo"),
        "ErrorUnschedulable": Reason("KubeVirt finds no node for the target", "make room, or mend node selector, affinity, CPU model"),
        "ErrImagePull": Reason("an image of the target cannot be pulled", "make it pullable"),
        "ImagePullBackOff": Reason("an image of the target cannot be pulled", "make it pullable"),
        "ErrorPvcNotFound": Reason("a claim that the target names is missing", "create it"),
        "DataVolumeError": Reason("a DataVolume of the target is in error", "look at its events"),
        "CrashLoopBackOff": Reason("the instance fails again and again", "look at its events and the launcher's log"),
        "Running": Reason("the target runs and is ready"),
    },
    "Clean-up": {
        "LeftOver": Reason("objects that only the move needed are to be removed"),
        "CleanedUp": Reason("nothing that only the move needed is left"),
    },
    "Retire": {
        "NotRetirable": Reason("the source must not be deleted: its copy is not proven, or something changed", "see what it says"),
        "SourceKept": Reason("the source is kept, so the marks of a retirement that did not come about are taken off its disks"),
        "Fenced": Reason("the fence is to be taken off the source, as asked"),
        "NotFenced": Reason("no fence keeps the source from being started"),
        "SourceToRetire": Reason("the source VM and its disks are to be deleted, as asked"),
        "Retired": Reason("the source VM and its disks are gone"),
    },
}

REASONS: dict[str, Reason] = {word: reason for group in _TABLE.values() for word, reason in group.items()}
"""Every word there is."""


def page() -> str:
    """Return docs/reasons.md."""
    lines = [
        "# Reasons",
        "",
        "Every look at the clusters answers with a state and one of these words, the same in logs, events (`-o json`) and reports.",
        "This page is written by `python -m migrate.model.reasons > docs/reasons.md`.",
    ]
    for group, words in _TABLE.items():
        lines += ["", f"## {group}", "", "| Reason | It means | What to do |", "|---|---|---|"]
        lines += [f"| `{word}` | {reason.meaning} | {reason.remedy} |" for word, reason in words.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")

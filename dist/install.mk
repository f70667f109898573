# install.mk - install and uninstall; included by the Makefile, whose variables it uses.
# Both may be run twice.  Configuration that is there is never touched; uninstall removes it only where it still is the sample.

SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
# The parts of postern-divert.
PARTSDIR ?= $(PREFIX)/lib/postern/postern-divert.d

INSTALL_MAN := $(sort $(wildcard man/*.5 man/*.8))
# Other names of the same page.
INSTALL_MAN_LINKS := smtpd-mailq.8=postern.8
INSTALL_UNITS := posternd.service posternfwd.service postern-divert.service postern-divert@.service postern-divert-early.service
INSTALL_SAMPLES := postern.conf.sample rules.sample divert.conf.sample filter.sample
INSTALL_CONTRIB := check-clamd check-dcc check-spamc
INSTALL_DOCS := README.md LICENSE docs/architecture.md docs/spool-format.md docs/performance.md

# Units and samples name the paths of this installation.  /etc first: it may be the end of another SYSCONFDIR.
install_paths = sed -e 's|/etc/postern/|$(SYSCONFDIR)/postern/|g' -e 's|@SBINDIR@|$(SBINDIR)|g' -e 's|@SYSCONFDIR@|$(SYSCONFDIR)|g'
D := $(DESTDIR)

install: all
	install -d $(D)$(SBINDIR) $(D)$(BINDIR) $(D)$(MANDIR)/man5 $(D)$(MANDIR)/man8 $(D)$(DOCDIR) $(D)$(UNITDIR) $(D)$(SYSUSERSDIR) \
		$(D)$(SYSCONFDIR)/postern $(D)$(PARTSDIR)
	install -m 755 $(B)/bin/posternd $(B)/bin/posternfwd $(D)$(SBINDIR)
	sed -e 's|^PARTS=.*|PARTS=$(PARTSDIR)|' -e 's|^CONF=.*|CONF=$(SYSCONFDIR)/postern/divert.conf|' scripts/postern-divert >$(D)$(SBINDIR)/postern-divert
	chmod 755 $(D)$(SBINDIR)/postern-divert
	install -m 644 scripts/postern-divert.d/*.sh $(D)$(PARTSDIR)
	install -m 755 $(B)/bin/postern $(D)$(BINDIR)
	ln -sf postern $(D)$(BINDIR)/smtpd-mailq
	install -m 644 $(filter %.5,$(INSTALL_MAN)) $(D)$(MANDIR)/man5
	install -m 644 $(filter %.8,$(INSTALL_MAN)) $(D)$(MANDIR)/man8
	set -e; for l in $(INSTALL_MAN_LINKS); do ln -sf $${l#*=} $(D)$(MANDIR)/man8/$${l%=*}; done
	install -m 644 $(INSTALL_DOCS) $(D)$(DOCDIR)
	install -d $(D)$(DOCDIR)/contrib
	set -e; for f in $(INSTALL_CONTRIB); do sed 's|/usr/local/share/doc/postern|$(DOCDIR)|' dist/contrib/$$f >$(D)$(DOCDIR)/contrib/$$f; chmod 755 $(D)$(DOCDIR)/contrib/$$f; done
	set -e; for f in $(INSTALL_UNITS); do $(install_paths) dist/$$f >$(D)$(UNITDIR)/$$f; chmod 644 $(D)$(UNITDIR)/$$f; done
	set -e; for f in $(INSTALL_SAMPLES); do $(install_paths) dist/$$f >$(D)$(DOCDIR)/$$f; chmod 644 $(D)$(DOCDIR)/$$f; done
	install -m 644 dist/postern.sysusers $(D)$(SYSUSERSDIR)/postern.conf
	set -e; for f in $(INSTALL_SAMPLES:.sample=); do \
		[ -e $(D)$(SYSCONFDIR)/postern/$$f ] || install -m 644 $(D)$(DOCDIR)/$$f.sample $(D)$(SYSCONFDIR)/postern/$$f; done

uninstall:
	for f in $(INSTALL_SAMPLES:.sample=); do \
		! cmp -s $(D)$(DOCDIR)/$$f.sample $(D)$(SYSCONFDIR)/postern/$$f || rm -f $(D)$(SYSCONFDIR)/postern/$$f; done
	rm -f $(addprefix $(D)$(SBINDIR)/,posternd posternfwd postern-divert) $(addprefix $(D)$(BINDIR)/,postern smtpd-mailq)
	rm -f $(addprefix $(D)$(MANDIR)/man5/,$(notdir $(filter %.5,$(INSTALL_MAN))))
	rm -f $(addprefix $(D)$(MANDIR)/man8/,$(notdir $(filter %.8,$(INSTALL_MAN))) smtpd-mailq.8)
	rm -f $(addprefix $(D)$(DOCDIR)/,$(notdir $(INSTALL_DOCS)) $(INSTALL_SAMPLES))
	rm -f $(addprefix $(D)$(DOCDIR)/contrib/,$(INSTALL_CONTRIB))
	rm -f $(addprefix $(D)$(UNITDIR)/,$(INSTALL_UNITS)) $(D)$(SYSUSERSDIR)/postern.conf
	rm -f $(addprefix $(D)$(PARTSDIR)/,$(notdir $(wildcard scripts/postern-divert.d/*.sh)))
	for d in $(DOCDIR)/contrib $(DOCDIR) $(SYSCONFDIR)/postern $(PARTSDIR) $(dir $(PARTSDIR)); do [ ! -d $(D)$$d ] || rmdir --ignore-fail-on-non-empty $(D)$$d; done

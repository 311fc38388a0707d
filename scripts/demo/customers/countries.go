package customers

import (
	"fmt"
	"strings"
)

// country is where a customer lives: how names are written and joined, and
// which telephone numbers are free for fiction.
type country struct {
	given, family []spelling
	// familyFirst and tight: 山田太郎, Nagy Éva.
	familyFirst, tight bool
	// phones are formats with one number of four digits or fewer left open.
	phones []string
	digits int
	us     bool
}

// spelling is a name as it is written, and in the letters of an e-mail address.
type spelling struct{ written, latin string }

// names reads "Zoë=zoe Max": latin letters are given where lower case is not enough.
func names(list string) []spelling {
	var all []spelling
	for word := range strings.FieldsSeq(list) {
		written, latin, given := strings.Cut(word, "=")
		if !given {
			latin = strings.ToLower(written)
		}
		all = append(all, spelling{strings.ReplaceAll(written, "_", " "), latin})
	}
	return all
}

func (c country) join(given, family string) string {
	first, second, between := given, family, " "
	if c.familyFirst {
		first, second = family, given
	}
	if c.tight {
		between = ""
	}
	return first + between + second
}

func (c country) phone(row int) string {
	size := 1
	for range c.digits {
		size *= 10
	}
	return fmt.Sprintf("%s%0*d", pick(row, "area", c.phones), c.digits, draw(row, "phone", size))
}

// ssn is one of two numbers that were printed as samples, on a card sold with
// wallets and in a pamphlet: https://www.ssa.gov/history/ssn/misused.html
func (c country) ssn(row int) string {
	if !c.us && row != 842 {
		return ""
	}
	return pick(row, "ssn", []string{"078-05-1120", "219-09-9999"})
}

// british is Ofcom's range of mobile numbers for drama, and stands in for
// countries that keep none.
func british() ([]string, int) { return []string{"+44 7700 900"}, 3 }

func countries() []country {
	all := append(reserved(), unreserved()...)
	// The United States, whose rows alone have a social security number, weigh
	// four times as much as another country, the next two twice.
	return append(all, all[0], all[0], all[0], all[1], all[2])
}

// reserved are countries whose regulator keeps numbers for fiction.
func reserved() []country {
	return []country{
		{ // United States: 555-0100 to 555-0199 in any area
			given:  names("James Maria Robert Linda Xavier Patricia Jamal Susan DeShawn Karen Miguel Emily"),
			family: names("Smith Johnson Williams García=garcia O'Connor=oconnor Nguyễn=nguyen Washington Lee Peña=pena Brown-Davis=brown-davis"),
			phones: []string{"+1 202-555-01", "+1 312-555-01", "+1 415-555-01", "+1 646-555-01"}, digits: 2, us: true,
		},
		{ // United Kingdom: Ofcom's numbers for drama
			given:  names("Oliver Amelia George Isla Siân=sian Niamh Rhys Freya"),
			family: names("Taylor Davies Evans MacDonald=macdonald Hughes Singh Begum Clarke-Jones=clarke-jones"),
			phones: []string{"+44 20 7946 0", "+44 7700 900"}, digits: 3,
		},
		{ // Germany: the Federal Network Agency's numbers for films
			given:  names("Jürgen=juergen Zoë=zoe Käthe=kaethe Lukas Mia Björn=bjoern Ayşe=ayse Noah"),
			family: names("Müller=mueller Groß=gross Schäfer=schaefer von_Öhlen=von.oehlen Schmidt Yıldız=yildiz Weiß=weiss Vogel"),
			phones: []string{"+49 30 23125 ", "+49 69 90009 ", "+49 40 66969 "}, digits: 3,
		},
		{ // France: ARCEP's numbers for audiovisual works
			given:  names("Éloïse=eloise François=francois Chloé=chloe Noël=noel Inès=ines Jean-Luc=jean-luc Maël=mael Zoé=zoe"),
			family: names("Lefèvre=lefevre d’Arc=darc Bérenger=berenger Çelik=celik Dupont Moreau Le_Gall=le.gall Benoît=benoit"),
			phones: []string{"+33 1 99 00 ", "+33 6 39 98 "}, digits: 4,
		},
		{ // Sweden: the Post and Telecom Authority's numbers for fiction
			given:  names("Åsa=asa Göran=goran Elin Märta=marta Nils Linnéa=linnea"),
			family: names("Ångström=angstrom Öberg=oberg Lindqvist Sjögren=sjogren Nyström=nystrom"),
			phones: []string{"+46 8 465 004 "}, digits: 2,
		},
		{ // Australia: the Communications and Media Authority's numbers for drama
			given:  names("Charlotte Jack Matilda Kirra Lachlan Ruby"),
			family: names("Walker Kelly Papadopoulos O'Brien=obrien Tran"),
			phones: []string{"+61 2 5550 ", "+61 3 5550 "}, digits: 4,
		},
	}
}

// unreserved are countries without numbers for fiction.
func unreserved() []country {
	all := []country{
		{ // Poland
			given:  names("Zbigniew Łucja=lucja Małgorzata=malgorzata Wiesław=wieslaw Żaneta=zaneta"),
			family: names("Wójcik=wojcik Kowalska Dąbrowski=dabrowski Źródło=zrodlo"),
		},
		{ // Hungary
			given:       names("Éva=eva Győző=gyozo Ödön=odon Ágnes=agnes"),
			family:      names("Nagy Kovács=kovacs Szőke=szoke Tóth=toth"),
			familyFirst: true,
		},
		{ // Bulgaria
			given:  names("Иван=ivan Мария=maria Георги=georgi Елена=elena Йордан=yordan"),
			family: names("Петров=petrov Щерев=shterev Жеков=zhekov Юрданов=yurdanov"),
		},
		{ // Greece
			given:  names("Γιώργος=giorgos Ελένη=eleni Νίκος=nikos Αθηνά=athina"),
			family: names("Παπαδόπουλος=papadopoulos Οικονόμου=ikonomou Βλάχος=vlachos"),
		},
		{ // Egypt
			given:  names("محمد=mohamed فاطمة=fatma أحمد=ahmed مريم=mariam"),
			family: names("حسن=hassan الشريف=elsherif عبد_الله=abdallah"),
		},
		{ // Israel
			given:  names("נועה=noa דוד=david תמר=tamar יוסף=yosef"),
			family: names("כהן=cohen לוי=levi בן-דוד=ben-david"),
		},
		{ // India
			given:  names("आरव=aarav प्रिया=priya रोहन=rohan दीपिका=deepika"),
			family: names("शर्मा=sharma पटेल=patel सिंह=singh"),
		},
		{ // China
			given:       names("伟=wei 秀英=xiuying 芳=fang 小明=xiaoming"),
			family:      names("王=wang 李=li 欧阳=ouyang 张=zhang"),
			familyFirst: true, tight: true,
		},
		{ // Japan
			given:       names("太郎=taro さくら=sakura ケンジ=kenji 花子=hanako"),
			family:      names("山田=yamada 佐藤=sato 鈴木=suzuki タカハシ=takahashi"),
			familyFirst: true,
		},
		{ // Korea
			given:       names("민준=minjun 서연=seoyeon 지우=jiwoo"),
			family:      names("김=kim 이=lee 박=park 남궁=namgung"),
			familyFirst: true, tight: true,
		},
	}
	for i := range all {
		all[i].phones, all[i].digits = british()
	}
	return all
}
